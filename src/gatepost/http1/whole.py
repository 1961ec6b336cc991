"""One response that the gateway itself asked for, from bytes as they arrive: its head, and its body as far as it is
kept. Pure."""

from __future__ import annotations

from typing import Final

from gatepost.errors import Problem, ProtocolError
from gatepost.http1.chunked import ChunkedDecoder
from gatepost.http1.messages import CHUNKED, UNTIL_CLOSE, Fields
from gatepost.http1.response import ResponseParser

HEAD_BYTES: Final = 65_536
INTERIM: Final = 8  # 1xx heads before the final one


class Response:
    """Read one, `reset`, read the next. `status` is 0 until the head is there."""

    __slots__ = (
        "_chunks",
        "_head",
        "_interim",
        "_keep",
        "_left",
        "_limit",
        "_method",
        "_parser",
        "_size",
        "begun",
        "cut",
        "fields",
        "reusable",
        "status",
    )

    def __init__(self, limit: int, method: bytes = b"POST") -> None:
        self._limit = limit  # bytes of the body that are kept; a longer one is not read to its end
        self._method = method  # what it answers
        self._parser = ResponseParser()
        self._head = bytearray()  # of an unfinished head
        self._keep: list[bytes] = []
        self.reset()

    def reset(self) -> None:
        self.status = 0
        self.begun = False  # a byte has come
        self.reusable = False  # the connection can carry another request, once the response is over
        self.cut = False  # the body is longer than what is kept of it
        self.fields: Fields = []  # end-to-end ones, lower-case names
        self._interim = 0
        self._chunks: ChunkedDecoder | None = None
        self._left = 0
        self._size = 0
        self._keep.clear()

    @property
    def body(self) -> bytes:
        return b"".join(self._keep)[: self._limit]

    def feed(self, data: bytes) -> bool:
        """True once it is over: complete, or all of it that is kept is there. Raises ProtocolError."""
        self.begun = True
        while not self.status:
            rest = self._feed_head(data)
            if rest is None:
                return False
            data = rest
        return self._feed_body(data)

    def ends_here(self) -> bool:
        """The other side closes: is that the end of the response?"""
        return self.status != 0 and self._left == UNTIL_CLOSE and self._chunks is None

    def _feed_head(self, data: bytes) -> bytes | None:
        """What follows the head; None if the head is not complete."""
        head = self._head
        if head:
            searched = max(0, len(head) - 3)
            head += data
            end = head.find(b"\r\n\r\n", searched)
            data = b"" if end < 0 else bytes(head)
        else:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                head += data
        if end < 0:
            if len(head) > HEAD_BYTES:
                raise _invalid("its head is too large")
            return None
        if end > HEAD_BYTES:
            raise _invalid("its head is too large")
        if head:
            self._head = bytearray()
        self._read_head(data[: end + 4])
        return data[end + 4 :]

    def _read_head(self, data: bytes) -> None:
        head = self._parser.parse(data, self._method)
        if head.status < 200:
            self._interim += 1
            if head.status == 101 or self._interim > INTERIM:
                raise _invalid(f"its status {head.status} was not asked for")
            return
        self.status = head.status
        self.fields = head.fields
        self.reusable = head.keep_alive
        self._left = head.framing
        if head.framing == CHUNKED:
            self._chunks = ChunkedDecoder()

    def _feed_body(self, data: bytes) -> bool:
        left = self._left
        if self._chunks is not None:
            try:
                data, rest = self._chunks.feed(data)
            except ProtocolError as error:
                raise _invalid(error.problem.detail or error.problem.title) from None
            over = self._chunks.done
        elif left == UNTIL_CLOSE:
            rest, over = b"", False
        else:
            data, rest = data[:left], data[left:]
            self._left = left - len(data)
            over = self._left == 0
        if data:
            self._keep.append(data)
            self._size += len(data)
        if rest:
            self.reusable = False  # bytes that nobody asked for
        if not over and self._size >= self._limit:
            self.reusable = False
            self.cut = True
            return True
        self.cut = self._size > self._limit
        return over


def _invalid(detail: str) -> ProtocolError:
    return ProtocolError(
        Problem(502, "response-invalid", "The response is invalid", f"The response is not valid: {detail}")
    )
