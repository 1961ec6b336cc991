"""The server: connections, routing, and the phases of an exchange, in the order traffic meets them.

- `gate.py`: what the connections of one listener share: the snapshot, the limits, draining.
- `connection.py`: one client connection: it parses, runs the policies, and is the sink of the response. `tunnel.py`:
  its end of a tunnel; `websocket.py`: how a WebSocket is ended; `departure.py`: how one that left unseen is noticed.
- `clients.py`: who is at the other end, as trusted proxies tell it, and what the upstream is told of them.
- `routing.py`: finds the route.
- `errors.py`: the bodies of the gateway's own answers, by `Accept`.
- `records.py`: the access record.
"""
