"""Live streams: the messages of a channel, as they are committed, on a browser's page.

    bus ─► Hub (topic → subscribers, one encoded frame) ─► Subscriber (its own bounded queue) ─► the connection

- `topics.py`: what a topic is, and the selectors that name many. `frames.py`: server-sent events as bytes. Both pure.
- `hub.py`: fan-out. `subscriber.py`: one stream, which is cut when it cannot keep up.
- `backlog.py`: what a resuming subscriber missed, read from the store so that it meets the live part exactly.
- `auth.py`: who may subscribe to what. `sse.py`: the handler that puts them together.
"""
