"""Server-sent events as bytes: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

from typing import Final

from gatepost import ids

HEARTBEAT: Final = b":\n\n"  # a comment: keeps proxies from closing the stream, no page sees it


def event(message: int, event_type: str, payload: bytes) -> bytes:
    """A message: `event` is its type, so a page listens with `addEventListener("order.created", …)`."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        ids.encode("msg", message).encode(),
        b" ".join(event_type.encode().splitlines()),  # the type is checked where messages come in; here it is a line
        _one_line_ends(payload).replace(b"\n", b"\ndata: "),
    )


def retry(seconds: float) -> bytes:
    """How long a browser waits before it connects again."""
    return b"retry: %d\n\n" % (seconds * 1000)


def _one_line_ends(payload: bytes) -> bytes:
    # JSON text may hold line ends between its tokens; to an event stream, CR, LF and CRLF each end the field.
    if b"\r" in payload:
        return payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return payload
