"""`compress`: answers get a content coding that the client takes.

It stands nearest to the client: what the cache stores and what transforms read is not encoded. The encoded form of a
stored answer is kept beside it, so that a hit is compressed once.

A body is encoded as it passes. One that comes without a length is flushed with each piece, so that a stream stays one;
a large one that is there whole is encoded in slices, between which the loop serves others.
"""

from __future__ import annotations

from typing import Final

from gatepost.config.policies.compress import CompressPolicy
from gatepost.exchange import Downstream, Exchange, Phase, Policy, Source, Through, is_problem
from gatepost.http1.messages import FieldList, Fields
from gatepost.policies.base import PolicyContext
from gatepost.policies.caching.storage import Entry, Storage
from gatepost.policies.codings import Encoder, Make, chosen, maker

SLICE: Final = 65_536  # bytes encoded in one turn of the loop: 0.7 ms with gzip
_NO_BODY: Final = frozenset({204, 205, 206, 304})  # and parts: their bytes are counted
_KNOWN_TYPES: Final = 256

# What counts or names the bytes of the body as they were (RFC 9530, RFC 9110 §14.3).
_OF_THE_BYTES: Final = frozenset(
    {b"accept-ranges", b"content-md5", b"digest", b"content-digest", b"repr-digest", b"etag"}
)


def build(use: CompressPolicy, context: PolicyContext) -> Compress:
    return Compress(use)


class Compress(Policy):
    name = "compress"
    phase = Phase.CLIENT  # its stage is the last before the client

    def __init__(self, use: CompressPolicy) -> None:
        """Raises ValueError where the library of a coding is not installed."""
        self.makers: dict[bytes, Make] = {coding.encode(): maker(coding) for coding in use.codings}
        self.min_size = use.min_size
        self._codings = tuple(self.makers)
        self._types = Types(use.types)

    def stage(self, x: Exchange, downstream: Downstream) -> Downstream:
        return _Stage(self, downstream)

    def negotiable(self, status: int, fields: Fields) -> bool:
        """Whether an answer is one that has forms to choose from."""
        if status < 200 or status in _NO_BODY:
            return False
        suits = False
        for name, value in fields:
            if name == b"content-type":
                suits = self._types.match(value)
            elif name == b"content-encoding" or name == b"content-range":
                return False
            elif name == b"cache-control" and b"no-transform" in value.lower():
                return False  # RFC 9111 §5.2.2.6
        return suits

    def coding_for(self, x: Exchange, size: int | None) -> bytes | None:
        """`size` of the body in bytes, None where nobody knows."""
        lines = x.head.all(b"accept-encoding")
        if not lines:
            return None
        coding, may_stay = chosen(lines, self._codings)
        if size is not None and size < self.min_size and (may_stay or not size):
            return None
        return coding


class Types:
    """Which media types are meant: `application/json`, `text/*`, `application/*+json`."""

    __slots__ = ("_exact", "_kinds", "_known", "_suffixes")

    def __init__(self, types: tuple[str, ...]) -> None:
        encoded = [each.lower().encode() for each in types]
        self._exact = frozenset(each for each in encoded if b"*" not in each)
        self._kinds = tuple(each[:-1] for each in encoded if each.endswith(b"/*"))
        self._suffixes = tuple(
            (kind + b"/", rest[1:])
            for kind, _, rest in (each.partition(b"/") for each in encoded)
            if rest.startswith(b"*+")
        )
        self._known: dict[bytes, bool] = {}

    def match(self, value: bytes) -> bool:
        known = self._known.get(value)
        if known is None:
            media = value.partition(b";")[0].strip(b" \t").lower()
            known = (
                media in self._exact
                or media.startswith(self._kinds)
                or any(media.startswith(kind) and media.endswith(end) for kind, end in self._suffixes)
            )
            if len(self._known) < _KNOWN_TYPES:
                self._known[value] = known
        return known


class _Stage(Through):
    """Of one exchange. It is the source of a body that it encodes in slices."""

    __slots__ = (
        "_body",
        "_coding",
        "_encoder",
        "_flushes",
        "_kept",
        "_parts",
        "_paused",
        "_policy",
        "_x",
    )

    _x: Exchange
    _body: memoryview
    _kept: tuple[Entry, Storage] | None
    _parts: list[bytes]
    _coding: bytes

    def __init__(self, policy: Compress, downstream: Downstream) -> None:
        self._policy = policy
        super().__init__(downstream)
        self._encoder: Encoder | None = None
        self._flushes = False
        self._paused = False

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        policy = self._policy
        if policy.negotiable(status, fields):
            coding = policy.coding_for(x, length)
            if coding is not None:
                fields = _encoded(fields, coding)
                if x.head.method != b"HEAD":
                    self._encoder = policy.makers[coding]()
                    self._flushes = length is None
                length = None
            else:
                fields = _varying(fields)
        self._downstream.begin(x, status, fields, length, source)

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        policy = self._policy
        # A problem document is small, and may become another body behind this stage (`errors` of the file).
        if (x.outcome and is_problem(body)) or not policy.negotiable(status, fields):
            self._downstream.respond(x, status, fields, body)
            return
        coding = policy.coding_for(x, len(body))
        if coding is None:
            self._downstream.respond(x, status, _varying(fields), body)
            return
        out = _encoded(fields, coding)
        if x.head.method == b"HEAD":
            self._downstream.begin(x, status, out, None, self)  # RFC 9110 §9.3.2: what only encoding tells is left out
            self._downstream.finish()
            return
        kept = _stored(fields, body)
        if kept is not None and kept[0].encoded is not None and coding in kept[0].encoded:
            self._downstream.respond(x, status, out, kept[0].encoded[coding])
        elif len(body) <= SLICE:
            encoder = policy.makers[coding]()
            data = encoder.compress(body) + encoder.finish()
            if kept is not None:
                _keep(kept, coding, data)
            self._downstream.respond(x, status, out, data)
        else:
            self._x = x
            self._body = memoryview(body)
            self._kept = kept
            self._parts = []
            self._coding = coding
            self._encoder = policy.makers[coding]()
            self._downstream.begin(x, status, out, None, self)
            self._slice()

    def send(self, data: bytes) -> None:
        encoder = self._encoder
        if encoder is None:
            self._downstream.send(data)
            return
        out = encoder.compress(data)
        if self._flushes:
            out += encoder.flush()
        if out:
            self._downstream.send(out)

    def finish(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            self._downstream.send(encoder.finish())
        self._downstream.finish()

    def abort(self) -> None:
        self._encoder = None
        self._downstream.abort()

    # The source of a body that is there whole.

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._x.loop.call_soon(self._slice)

    def cancel(self) -> None:
        self._encoder = None

    def _slice(self) -> None:
        encoder = self._encoder
        if encoder is None or self._paused:
            return
        data = encoder.compress(bytes(self._body[:SLICE]))
        self._body = self._body[SLICE:]
        if not self._body:
            self._encoder = None
            data += encoder.finish()
        if self._kept is not None:
            self._parts.append(data)
        if data:
            self._downstream.send(data)
        if self._body:
            if not self._paused:
                self._x.loop.call_soon(self._slice)
            return
        if self._kept is not None:
            _keep(self._kept, self._coding, b"".join(self._parts))
        self._downstream.finish()


def _encoded(fields: Fields, coding: bytes) -> Fields:
    """Of the encoded form. RFC 9110 §8.8.3.3: a strong tag names bytes, and these are others."""
    out = [field for field in fields if field[0] not in _OF_THE_BYTES]
    for name, value in fields:
        if name == b"etag":
            out.append((name, value if value[:2] == b"W/" else b"W/" + value))
    out.append((b"content-encoding", coding))
    return _varying(out)


def _varying(fields: Fields) -> Fields:
    """RFC 9110 §12.5.5: also where it stayed as it was, a cache must know that it depended on this."""
    for name, value in fields:
        if name == b"vary" and (b"accept-encoding" in value.lower() or b"*" in value):
            return fields
    added = [(b"vary", b"Accept-Encoding")]
    return fields.plus(added, b"vary: Accept-Encoding\r\n") if type(fields) is FieldList else [*fields, *added]


def _stored(fields: Fields, body: bytes) -> tuple[Entry, Storage] | None:
    """What is stored of this answer, where it comes as it is stored."""
    seen = fields.seen if type(fields) is FieldList else None
    if seen is not None and type(seen[0]) is Entry and seen[0].body is body:
        storage = seen[1]
        assert isinstance(storage, Storage)
        return seen[0], storage
    return None


def _keep(kept: tuple[Entry, Storage], coding: bytes, data: bytes) -> None:
    entry, storage = kept
    if storage.grow(entry, len(data)):
        if entry.encoded is None:
            entry.encoded = {}
        entry.encoded[coding] = data
