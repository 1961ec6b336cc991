"""`create_api`: the control API as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request, Response

from gatepost.api import (
    analytics,
    apps,
    attempts,
    audit,
    background_tasks,
    cache,
    captures,
    consumers,
    destinations,
    docs,
    endpoint_example,
    endpoint_headers,
    endpoint_secrets,
    endpoint_stats,
    endpoint_try,
    endpoints,
    errors,
    event_types,
    health,
    keys,
    message_batch,
    messages,
    plans,
    poller,
    portal,
    problems,
)
from gatepost.api import portal_page as page_of_portal
from gatepost.api.auditing import Auditing
from gatepost.api.callers import Callers
from gatepost.api.context import Context, Resender
from gatepost.api.encoding import answer
from gatepost.api.idempotency import Idempotency
from gatepost.api.paths import DOCS_PATH, OPEN_PATHS, OPENAPI_PATH, PORTAL_PATH, ROOT_PATH
from gatepost.clock import Clock
from gatepost.config.destinations import DestinationDecl
from gatepost.events.ingest import Ingest
from gatepost.net.guard import Guard
from gatepost.notices import SILENT, Notices
from gatepost.policies.caching.storage import Storage
from gatepost.stores.access import Access
from gatepost.stores.base import Store

# The order of the docs page. Each has its routes in `noun`.
NOUNS: Final = (
    apps, event_types, endpoints, endpoint_headers, endpoint_secrets, endpoint_stats, endpoint_example, endpoint_try,
    messages, message_batch, poller, attempts, destinations, background_tasks, consumers, keys, plans, cache, analytics,
    captures, portal, audit, health,
)  # fmt: skip

_DESCRIPTION: Final = """\
Apps, endpoints, messages and attempts: paths, fields, iterators and error bodies are Svix's, so its SDKs work with
`server_url` set to this listener. Consumers, keys, plans, cache and analytics are Gatepost's own. Send the admin token
as `Authorization: Bearer gp_admin_…`; its file is `admin.token` beside the store."""


def create_api(
    store: Store,
    *,
    clock: Clock,
    version: str,
    deliveries: Resender | None = None,
    guard: Guard | None = None,
    access: Callable[[], Access] | None = None,
    notices: Notices = SILENT,
    cache: Storage | None = None,
    ingest: Ingest | None = None,
    named: Mapping[str, DestinationDecl] = {},
) -> FastAPI:
    """The API over a store that is open when the first request comes. Start it through its lifespan, which makes the
    OpenAPI document.

    `deliveries` is told of what is sent again; without it that waits in the store. `guard` judges the addresses in
    endpoints' URLs; without it only public ones may be named. `access` gives the view of who may call that serves now,
    `notices` hears of keys. `cache` is what the caches of its routes share. `ingest` is the way in for messages.
    `named` are the destinations that the configuration declares.
    """

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        api.openapi()  # 0.2 s, unless it was made before: now, and not in the middle of traffic
        yield

    api = FastAPI(
        lifespan=lifespan,
        title="Gatepost",
        version=version,
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be followed by some clients as a GET
    )
    errors.install(api)
    api.add_middleware(Auditing, store=store)  # within the next one: an answer that is given again changes nothing
    api.add_middleware(Idempotency, clock=clock, store=store)
    api.state.callers = Callers(store, clock, access or (lambda: Access(stored=store.access)), notices)
    api.state.context = Context(
        store, clock, guard or Guard(), deliveries, cache=cache, ingest=ingest, destinations=named
    )
    for module in NOUNS:
        # Not `include_router`: it makes every route anew at the first request, for 0.1 s in which nobody is served.
        api.router.routes += module.noun.routes
    _document(api)
    return api


def _document(api: FastAPI) -> None:
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = generate()
            schemes = document["components"].setdefault("securitySchemes", {})
            schemes["AdminToken"] = {"type": "http", "scheme": "bearer"}
            document["security"] = [{"AdminToken": []}]
            problems.describe(document["paths"])
            for path in OPEN_PATHS:
                for operation in document["paths"].get(path, {}).values():
                    operation["security"] = []
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]

    @api.get(OPENAPI_PATH, include_in_schema=False)
    async def document(_: Request) -> Response:
        return answer(api.openapi())

    @api.get(ROOT_PATH, include_in_schema=False)
    async def root(_: Request) -> Response:
        return Response(status_code=307, headers={"location": DOCS_PATH})

    @api.get(DOCS_PATH, include_in_schema=False)
    async def page(_: Request) -> Response:
        return Response(docs.page(api.openapi()), media_type="text/html", headers=docs.HEADERS)

    @api.get(PORTAL_PATH, include_in_schema=False)
    async def portal_page(_: Request) -> Response:
        return Response(page_of_portal.PAGE, media_type="text/html", headers=page_of_portal.HEADERS)
