"""Upstream: an exchange is forwarded to a target of its route's service, or answered by an ASGI application.

- `targets.py`: a service and its targets: how each is, whose turn it is, their idle connections. Start here.
- `connection.py`: one connection to a target: a request goes out, its response comes back, or a tunnel is opened.
- `connect.py`: a new one: dialled, its TLS as `tls.py` says, its key pinned.
- `forward.py`: the handler: the request as the target sees it, and what each failure is called.
- `guarded.py`: the same for services with retries, a breaker or ejection; its decisions are pure: `retries.py`,
  `breaker.py`, `ejection.py` (over `window.py`), `balance.py`, and `health.py`, the states of a target.
- `spread.py`: routes with several services: a part goes elsewhere, a part is copied (`shadow.py`).
- `works.py`: what a service does by itself: health checks (`checks.py`), names that are followed (`discovery.py`).
- `versions.py`: routes whose service depends on the version that is asked for.
- `asgi.py`: the handler that runs an application in the process; `applications.py`: services that are one.
"""
