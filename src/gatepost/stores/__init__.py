"""Stores: what is true, on disk. `base.py` is the contract, `directory.py` the part of it that is kept in memory,
`sqlite.py` the embedded engine, `sql/<engine>/` its schema, queries and migrations.
"""
