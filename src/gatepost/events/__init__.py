"""Events: how what happens becomes messages.

- `ingest.py`   the one place where messages are made: checked (`rules.py`, pure), matched against the app's endpoints
                (`match.py`, pure), handed to the store. Start here.
- `create.py`   `POST /api/v1/app/{app}/msg`, on it; `cloudevents.py` (pure) reads CloudEvents.
- `schemas.py`  holds messages to their event types' JSON Schemas.
- `emit.py`     the policy that makes messages from exchanges: `emission.py` (pure) has its rules compiled,
                `emit_stage.py` holds the response meanwhile, `made.py` follows each message to the disk.
- `journal.py`  keeps what the store could not take, until it can; `journal_file.py` is its file and its thread.
"""
