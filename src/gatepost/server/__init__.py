"""The server: connections, routing, and the phases of an exchange, in the order traffic meets them.

- `gate.py`: what the connections of one listener share: the snapshot, the limits, draining.
- `connection.py`: one client connection: it parses, runs the policies, and is the sink of the response.
- `clients.py`: who is at the other end, as trusted proxies tell it, and what the upstream is told of them.
- `routing.py`: finds the route.
- `errors.py`: the bodies of the gateway's own answers, by `Accept`.
- `records.py`: the access record.
"""
