"""`POST /api/v1/app/{app}/msg`: Svix's "create message", served by the engine itself because it is the hot path.

Answers are made by hand: 202 with the message once it is on disk and not before, otherwise Svix's error bodies
(`{"code", "detail"}`, and `{"detail": [{"loc", "msg", "type"}]}` for 422). What Svix answers to a body that is not
JSON is 422 as well, with the type `value_error.jsondecode`. A content type is not asked for; that of CloudEvents, or
their header fields, makes them one (`cloudevents.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any, Final

import msgspec

from gatepost import ids
from gatepost.errors import StoreUnavailable
from gatepost.events.cloudevents import events_of, is_cloud_event
from gatepost.events.ingest import Ingest
from gatepost.events.rules import Fault, InvalidMessage, PayloadTooLarge
from gatepost.exchange import Exchange, collect_body
from gatepost.http1.messages import Fields
from gatepost.model import App
from gatepost.stores.base import Accepted, EventIdTaken, Outcome, Repeated

ENVELOPE: Final = 65_536  # bytes that a request may have beside its payload
RETRY_AFTER: Final = b"1"  # seconds, when the store cannot write; it tries by itself every second

_JSON: Final = (b"content-type", b"application/json")
_KEY_LENGTH: Final = 256
_NAME: Final = r"^[a-zA-Z0-9\-_.]+$"


class ApplicationIn(msgspec.Struct, rename="camel"):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    uid: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=_NAME)] | None = None
    metadata: dict[str, str] = {}
    throttle_rate: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None


class MessageIn(msgspec.Struct, rename="camel"):
    """The request. Unknown members are ignored, as Svix does; `payload` keeps its bytes."""

    event_type: str
    payload: msgspec.Raw
    event_id: str | None = None
    channels: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    tags: tuple[str, ...] | None = None
    payload_retention_period: Annotated[int, msgspec.Meta(ge=5, le=90)] | None = None  # days
    application: ApplicationIn | None = None


_decoder = msgspec.json.Decoder(MessageIn)


class CreateMessage:
    """The handler of the route. Its path parameter is `app`: an id or a uid."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._directory = ingest.store.directory
        self._body_limit = ingest.payload_limit + ENVELOPE
        self._second = -1
        self._second_text = b""
        self._tasks: set[asyncio.Task[None]] = set()

    # Handler

    def handle(self, x: Exchange) -> None:
        body = x.body
        if body is not None and len(body) <= self._body_limit:
            self._create(x, body)
        else:
            collect_body(x, self._body_limit, lambda body: self._create(x, body))

    def client_gone(self, x: Exchange) -> None:
        """Nothing is stopped: what was handed in is committed, and its answer, which nobody reads, is thrown away."""

    # one request

    def _create(self, x: Exchange, body: bytes | None) -> None:
        if body is None:
            _refuse(x, 413, "payload_too_large", f"The request is larger than {self._body_limit} bytes.")
            return
        encoding = x.head.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            _refuse(x, 415, "unsupported_media_type", "Send the body without a Content-Encoding.")
            return
        if is_cloud_event(x.head):
            self._create_of_events(x, body)
            return
        try:
            message = _decoder.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            _unprocessable(x, _faults_of(body, error))
            return
        with_content = True
        if x.query:
            wanted = _with_content(x.query)
            if wanted is None:
                _unprocessable(x, [Fault(("query", "with_content"), "with_content must be true or false")])
                return
            with_content = wanted
        key: str | None = None
        digest = b""
        field = x.head.get(b"idempotency-key")
        if field is not None:
            if not 0 < len(field) <= _KEY_LENGTH:
                reason = f"idempotency-key must have 1 to {_KEY_LENGTH} characters"
                _unprocessable(x, [Fault(("header", "idempotency-key"), reason)])
                return
            key = field.decode("latin-1")
            digest = hashlib.sha256(body).digest()
        creation = _Creation(self, x, message, with_content)
        if self._directory.app(x.params["app"]) is None and self._ingest.store.shared:
            self._later(self._create_refreshed(creation, key, digest))  # another node may just have made it
        else:
            self._create_in(creation, key, digest)

    def _create_of_events(self, x: Exchange, body: bytes) -> None:
        """CloudEvents: all of them in one transaction. One that was sent before is a success too."""
        name = x.params["app"]
        app = self._directory.app(name)
        if app is None:
            if self._ingest.store.shared:
                self._later(self._events_refreshed(x, body))
            else:
                _unknown_app(x, name)
            return
        try:
            events, batched = events_of(x.head, body)
            for event in events:
                self._ingest.check(event.event_type, event.payload, (), event.event_id, ())
            answers = _Answers(x, len(events), batched)
            for place, event in enumerate(events):
                self._ingest.publish(
                    app,
                    event.event_type,
                    event.payload,
                    event_id=event.event_id,
                    more=place < len(events) - 1,
                    done=answers.done,
                )
        except PayloadTooLarge as error:
            _refuse(x, 413, "payload_too_large", error.faults[0].message)
        except InvalidMessage as error:
            _unprocessable(x, error.faults)

    async def _events_refreshed(self, x: Exchange, body: bytes) -> None:
        try:
            await self._ingest.store.refresh()
        except StoreUnavailable:
            _unavailable(x)
            return
        if self._directory.app(x.params["app"]) is None:
            _unknown_app(x, x.params["app"])
        else:
            self._create_of_events(x, body)

    async def _create_refreshed(self, creation: _Creation, key: str | None, digest: bytes) -> None:
        try:
            await self._ingest.store.refresh()
        except StoreUnavailable:
            _unavailable(creation.x)
            return
        self._create_in(creation, key, digest)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _create_in(self, creation: _Creation, key: str | None, digest: bytes) -> None:
        x, message = creation.x, creation.message
        name = x.params["app"]
        app = self._directory.app(name)
        if app is not None:
            self._publish(creation, app, key, digest)
        elif message.application is None or ids.decode("app", name) is not None:
            _unknown_app(x, name)
        elif message.application.uid not in (None, name):
            reason = "uid must be the one in the path, or absent"
            _unprocessable(x, [Fault(("body", "application", "uid"), reason)])
        else:
            self._later(self._publish_to_new_app(creation, message.application, name, key, digest))

    def _publish(self, creation: _Creation, app: App, key: str | None, digest: bytes) -> None:
        message = creation.message
        days = message.payload_retention_period
        try:
            self._ingest.publish(
                app,
                message.event_type,
                creation.payload,
                channels=message.channels or (),
                event_id=message.event_id,
                tags=message.tags or (),
                idempotency_key=key,
                body_digest=digest,
                keep=None if days is None else days * 86_400.0,
                done=creation.done,
            )
        except PayloadTooLarge as error:
            _refuse(creation.x, 413, "payload_too_large", error.faults[0].message)
        except InvalidMessage as error:
            _unprocessable(creation.x, error.faults)

    async def _publish_to_new_app(
        self, creation: _Creation, wanted: ApplicationIn, uid: str, key: str | None, digest: bytes
    ) -> None:
        now = self._ingest.clock.now()
        new = App(
            key=0,
            id=0,
            name=wanted.name,
            uid=uid,
            metadata=wanted.metadata,
            throttle_rate=wanted.throttle_rate,
            created=now,
            updated=now,
        )
        try:
            app = await self._ingest.store.put_app(new)
        except ValueError:
            await self._ingest.store.refresh()
            existing = self._directory.app(uid)  # a request beside this one made it, here or on another node
            if existing is None:
                raise
            app = existing
        except StoreUnavailable:
            _unavailable(creation.x)
            return
        self._publish(creation, app, key, digest)

    def timestamp(self, identifier: int) -> bytes:
        """When a message was made, RFC 3339 in milliseconds. The second's text is made once a second."""
        moment = ids.seconds_of(identifier)
        second = int(moment)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return b"%b.%03dZ" % (self._second_text, round((moment - second) * 1000))


class _Creation:
    """One request between hand-in and answer."""

    __slots__ = ("handler", "message", "payload", "with_content", "x")

    def __init__(self, handler: CreateMessage, x: Exchange, message: MessageIn, with_content: bool) -> None:
        self.handler = handler
        self.x = x
        self.message = message
        self.payload = bytes(message.payload)
        self.with_content = with_content

    def done(self, outcome: Outcome) -> None:
        x = self.x
        if isinstance(outcome, Accepted) or (isinstance(outcome, Repeated) and outcome.same):
            x.downstream.respond(x, 202, [_JSON], self._document(outcome.id))
        elif isinstance(outcome, Repeated):
            reason = "This idempotency-key was used with another body. Use a new key for a new message."
            _unprocessable(x, [Fault(("header", "idempotency-key"), reason)])
        elif isinstance(outcome, EventIdTaken):
            detail = f"There is a message with this eventId already: {ids.encode('msg', outcome.id)}."
            _refuse(x, 409, "conflict", detail)
        else:
            _unavailable(x)

    def _document(self, identifier: int) -> bytes:
        """MessageOut. The names went through `rules.check`: nothing in them needs escaping."""
        message = self.message
        document = b'{"id":"%b","eventType":"%b","timestamp":"%b","payload":%b' % (
            ids.encode("msg", identifier).encode(),
            message.event_type.encode(),
            self.handler.timestamp(identifier),
            self.payload if self.with_content else b"{}",
        )
        if message.event_id is not None:
            document += b',"eventId":"%b"' % message.event_id.encode()
        if message.channels:
            document += b',"channels":%b' % msgspec.json.encode(list(dict.fromkeys(message.channels)))
        if message.tags:
            document += b',"tags":%b' % msgspec.json.encode(message.tags)
        return document + b"}"


class _Answers:
    """What becomes of the CloudEvents of one request, in their order."""

    __slots__ = ("_batched", "_count", "_outcomes", "_x")

    def __init__(self, x: Exchange, count: int, batched: bool) -> None:
        self._x = x
        self._count = count
        self._batched = batched
        self._outcomes: list[Outcome] = []

    def done(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if len(self._outcomes) < self._count:
            return
        out = []
        for each in self._outcomes:
            if not isinstance(each, (Accepted, EventIdTaken)):
                _unavailable(self._x)
                return
            status = "accepted" if isinstance(each, Accepted) else "duplicate"
            out.append({"id": ids.encode("msg", each.id), "status": status})
        body = msgspec.json.encode({"data": out} if self._batched else out[0])
        self._x.downstream.respond(self._x, 202, [_JSON], body)


# refusals, in Svix's shapes


def _refuse(x: Exchange, status: int, code: str, detail: str, *fields: tuple[bytes, bytes]) -> None:
    x.outcome = code.replace("_", "-")
    out: Fields = [_JSON, *fields]
    x.downstream.respond(x, status, out, msgspec.json.encode({"code": code, "detail": detail}))


def _unknown_app(x: Exchange, name: str) -> None:
    _refuse(x, 404, "not_found", f"There is no app {name!r}. Use the id or uid of an existing one.")


def _unavailable(x: Exchange) -> None:
    detail = "The store cannot take writes now. Nothing was kept; send the request again."
    _refuse(x, 503, "unavailable", detail, (b"retry-after", RETRY_AFTER))


def _unprocessable(x: Exchange, faults: Sequence[Fault]) -> None:
    x.outcome = "invalid-message"
    detail = [{"loc": fault.loc, "msg": fault.message, "type": fault.type} for fault in faults]
    x.downstream.respond(x, 422, [_JSON], msgspec.json.encode({"detail": detail}))


def _with_content(query: bytes) -> bool | None:
    """The value of `with_content`, the last one if there are several; None where it is no boolean."""
    wanted: bool | None = True
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name == b"with_content":
            wanted = {b"true": True, b"false": False}.get(value)
    return wanted


def _faults_of(body: bytes, error: Exception) -> list[Fault]:
    """The decoder stops at the first fault; a person wants them all. Decodes again, one member at a time."""
    if not isinstance(error, msgspec.ValidationError):
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        return [Fault(("body",), reason, "value_error.jsondecode")]
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return [Fault(("body",), "the body must be a JSON object", "type_error")]
    faults: list[Fault] = []
    for field in msgspec.structs.fields(MessageIn):
        name = field.encode_name
        if name not in members:
            if field.required:
                faults.append(Fault(("body", name), f"{name} is required", "value_error.missing"))
            continue
        expected: Any = field.type
        try:
            msgspec.json.decode(members[name], type=expected)
        except msgspec.ValidationError as wrong:
            reason, _, path = str(wrong).partition(" - at `$")
            places = path.rstrip("`").replace("[", ".").replace("]", "").split(".")
            faults.append(Fault(("body", name, *filter(None, places)), reason, "type_error"))
    return faults
