"""Upstream: an exchange is forwarded to a target of its route's service, or answered by an ASGI application.

- `targets.py`: a service's targets: their turn, their rest after a failure, their idle connections.
- `connection.py`: one connection to a target: a request goes out, its response comes back, or a tunnel is opened.
- `forward.py`: the handler: the request as the target sees it, retries, and what each failure is called.
- `asgi.py`: the handler that runs an application in the process.
"""
