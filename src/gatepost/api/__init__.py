"""The control API: what changes by itself (apps, endpoints, messages, attempts), over HTTP on the control listener.

The webhook part speaks Svix's contract: same paths, fields, iterators and error bodies, so that its SDKs work with
`server_url` changed. docs/api.md tells what is the same and what is not.

- `control.py`: `create_api`, the FastAPI application. `late.py` loads it when it is first asked for; `paths.py` holds
  what the listener must know before.
- One file a noun: `apps.py`, `event_types.py`, `endpoints.py` (with `endpoint_settings.py` and the other `endpoint_…`),
  `messages.py`, `message_batch.py`, `poller.py`, `background_tasks.py`, `portal.py` (and its `portal_page.py`),
  `attempts.py`, `destinations.py` (what a message was sent to, what an endpoint was sent), `health.py`.
- Who calls the gateway: `consumers.py`, `keys.py`, `plans.py`, with `callers.py` (what they share) and `problems.py`
  (their refusals, which are problem documents).
- What they share: `context.py` (finding and changing objects), `fields.py` (types of fields), `pagination.py`,
  `router.py`, `encoding.py` (answers as bytes), `errors.py` (refusals), `idempotency.py` (a POST that is repeated).
- `docs.py`: the page that renders the OpenAPI document. `tokens.py`: the administrator's token.

The token is not checked here but by the policy `admin_token` on the listener's routes, and messages are created by
`events/create.py`: that is the hot path, and the framework is not on it.
"""
