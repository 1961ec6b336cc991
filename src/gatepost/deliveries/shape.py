"""What is sent of a message to an endpoint that asks for more than the payload as it came. Pure.

    payload ──filter──► transform | thin ──► one, or a batch of them ──► gzip, zstd

Only endpoints with such a setting have a `Shape`; the others' payloads go out byte for byte. It is applied before the
first try, not when the message is accepted: a costly transform slows down the deliveries of its own endpoint and no
publisher. A shape that fails is an attempt that fails, with the reason.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

import msgspec

from gatepost import ids
from gatepost.errors import ExpressionError, GatepostError
from gatepost.expressions.message import MessageEnvironment, compile_filter, compile_transform
from gatepost.expressions.program import Program
from gatepost.model import EndpointSettings

BODY_LIMIT: Final = 4_194_304  # bytes of what a transform makes: four times the largest payload
_LEVEL: Final = 6  # of both codings: gzip 20 MB/s, zstd 100


class ShapeError(GatepostError):
    """Nothing can be sent: what the attempt says."""


class Unwanted(GatepostError):
    """The endpoint's filter does not want this message, which it was not asked about, or could not answer, when the
    message was accepted."""


class Source(Protocol):
    """What is shaped: `deliveries.payloads.Payload` in the engine."""

    @property
    def id(self) -> bytes: ...  # msg_…
    @property
    def event_type(self) -> str: ...
    @property
    def channels(self) -> Sequence[str]: ...
    @property
    def body(self) -> bytes: ...


class Shape:
    """One endpoint's, made once for each version of it. Raises ShapeError each time where a stored expression cannot
    be compiled: the API refuses such a one."""

    __slots__ = ("_app", "_encode", "_filter", "_link", "_problem", "_settings", "_transform")

    def __init__(self, settings: EndpointSettings, app: str, api_url: str = "") -> None:
        """`app` is what expressions and links call the app; `api_url` is what a thin payload's link begins with."""
        self._settings = settings
        self._app = app
        self._link = f"{api_url.rstrip('/')}/api/v1/app/{app}/msg/"
        self._filter: Program | None = None
        self._transform: Program | None = None
        self._problem = ""
        self._encode: Callable[[bytes], bytes] | None = None
        try:
            if settings.filter:
                self._filter = compile_filter(settings.filter)
            if settings.transform:
                self._transform = compile_transform(settings.transform)
        except ExpressionError as error:
            self._problem = f"the endpoint's {'filter' if self._filter is None and settings.filter else 'transform'}"
            self._problem += f" cannot be used: {error}"
        try:
            self._encode = _encoder(settings.encoding)
        except ShapeError as error:
            self._problem = self._problem or str(error)

    def body(self, message: Source) -> bytes:
        """What is sent of one message. Raises ShapeError, Unwanted."""
        return self._encoded(self._batch([message]) if self._settings.batch is not None else self._one(message))

    def batch(self, messages: Sequence[Source]) -> bytes:
        """One request's body for several. Raises ShapeError, Unwanted for the first that cannot be sent: ask `part`
        of each beforehand to leave it out."""
        return self._encoded(self._batch(messages))

    def part(self, message: Source) -> bytes:
        """What stands in a batch for this message. Raises ShapeError, Unwanted."""
        shaped = self._one(message)
        if self._settings.batch is not None and self._settings.batch.format == "cloudevents":
            return cloud_event(message, shaped, self._app)
        return envelope(message, shaped)

    def _one(self, message: Source) -> bytes:
        if self._problem:
            raise ShapeError(self._problem)
        if self._filter is None and self._transform is None:
            return self._thin(message) if self._settings.payload == "thin" else message.body
        env = MessageEnvironment(message.body, message.event_type, message.channels, self._app)
        if self._filter is not None:
            try:
                wanted = self._filter.evaluate(env)
            except ExpressionError as error:
                raise ShapeError(f"the endpoint's filter failed: {error}") from None
            if not wanted:
                raise Unwanted("the endpoint's filter does not want this message")
        if self._transform is not None:
            try:
                shaped = self._transform.evaluate_json(env)
            except ExpressionError as error:
                raise ShapeError(f"the endpoint's transform failed: {error}") from None
            if len(shaped) > BODY_LIMIT:
                raise ShapeError(f"the endpoint's transform made more than {BODY_LIMIT} bytes")
            return shaped
        return self._thin(message) if self._settings.payload == "thin" else message.body

    def _batch(self, messages: Sequence[Source]) -> bytes:
        return b"[%b]" % b",".join([self.part(message) for message in messages])

    def _thin(self, message: Source) -> bytes:
        document: dict[str, object] = {
            "id": message.id.decode(),
            "event_type": message.event_type,
            "app": self._app,
            "timestamp": _moment(message),
            "link": self._link + message.id.decode(),
        }
        if message.channels:
            document["channels"] = message.channels
        return msgspec.json.encode(document)

    def _encoded(self, body: bytes) -> bytes:
        return body if self._encode is None else self._encode(body)


def shape_of(settings: EndpointSettings, app: str, api_url: str = "") -> Shape | None:
    """None where an endpoint with these settings gets payloads as they came."""
    if not (settings.filter or settings.transform or settings.encoding or settings.batch or settings.payload == "thin"):
        return None
    return Shape(settings, app, api_url)


# batches


def envelope(message: Source, data: bytes) -> bytes:
    """Our own: `{"id", "type", "timestamp", "data"}`; `data` keeps its bytes."""
    return b'{"id":"%b","type":%b,"timestamp":"%b","data":%b}' % (
        message.id,
        msgspec.json.encode(message.event_type),
        _moment(message).encode(),
        data,
    )


def cloud_event(message: Source, data: bytes, app: str) -> bytes:
    """A CloudEvents 1.0 event in the JSON format (§3.1): `data` is JSON and stands there as it is."""
    return (
        b'{"specversion":"1.0","id":"%b","source":%b,"type":%b,"time":"%b","datacontenttype":"application/json",'
        b'"data":%b}'
    ) % (
        message.id,
        msgspec.json.encode(f"/apps/{app}"),
        msgspec.json.encode(message.event_type),
        _moment(message).encode(),
        data,
    )


# before it is saved


class Tried(NamedTuple):
    """What an endpoint with some settings would make of a sample."""

    wanted: bool
    body: bytes  # before it is compressed; b"" where it is not wanted or `error` says why there is none
    error: str


class Sample:
    """A message that was never accepted."""

    __slots__ = ("body", "channels", "event_type", "id")

    def __init__(self, event_type: str, body: bytes, channels: Sequence[str] = ()) -> None:
        self.id = ids.encode("msg", 1).encode()
        self.event_type = event_type
        self.body = body
        self.channels = channels


def try_on(settings: EndpointSettings, sample: Source, app: str, api_url: str = "") -> Tried:
    """What would be sent of `sample`, and whether it would. Never raises for the settings' sake."""
    shape = Shape(msgspec.structs.replace(settings, encoding=""), app, api_url)
    try:
        return Tried(True, shape.body(sample), "")
    except Unwanted:
        return Tried(False, b"", "")
    except ShapeError as error:
        return Tried(True, b"", str(error))


# helpers


def _encoder(encoding: str) -> Callable[[bytes], bytes] | None:
    if not encoding:
        return None
    if encoding == "gzip":
        return lambda body: gzip.compress(body, _LEVEL, mtime=0)  # the same bytes whenever it is done
    try:
        import zstandard
    except ImportError:
        raise ShapeError("zstd needs `pip install gatepost[compress]`") from None
    return lambda body: zstandard.ZstdCompressor(level=3).compress(body)


def _moment(message: Source) -> str:
    made = ids.seconds_of(ids.decode("msg", message.id.decode()) or 0)
    return datetime.fromtimestamp(made, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
