"""Events: how what happens becomes messages.

`match.py` says which endpoints get a message (pure), `rules.py` what a message may look like (pure), `ingest.py` is
the one place where messages are made: matched and handed to the store. `create.py` serves `POST /api/v1/app/{app}/msg`
on it, `emit.py` makes messages from exchanges (its expressions stand compiled in `emission.py`), and `journal.py`
keeps those that the store could not take, until it can.
"""
