"""How news of committed messages gets from the store to whoever follows along.

`base.py` is the contract, `local.py` serves one process.
"""
