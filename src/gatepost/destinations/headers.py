"""The header fields that an endpoint's owner may add to its requests. The API asks `fault`, the webhook `lines`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gatepost.http1.framing import FRAMING, HOP_BY_HOP

OURS: Final = (
    FRAMING
    | HOP_BY_HOP
    | {b"host", b"expect", b"content-type", b"content-encoding", b"content-digest", b"user-agent"}
    | {b"signature", b"signature-input"}
)
OUR_PREFIXES: Final = (b"webhook-", b"svix-")

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")  # RFC 9110 §5.6.2, token
_VALUE: Final = re.compile(r"[\x20-\x7e\x80-\xff\t]{0,4096}")  # §5.5; no control character, so no second line


def fault(name: str, value: str) -> str | None:
    """Why this field cannot be added; None if it can."""
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a header name"
    lower = name.lower().encode()
    if lower in OURS or lower.startswith(OUR_PREFIXES):
        return f"{name} is set by Gatepost"
    if not _VALUE.fullmatch(value):
        return f"the value of {name} holds characters that a header cannot carry"
    return None


def lines(headers: Mapping[str, str], without: tuple[str, ...] = ()) -> bytes:
    """The fields as they stand in a head. What has a fault is left out: a request is never bent by a stored value. So
    is what begins with one of `without` (lower case), which this endpoint's requests have from elsewhere."""
    return b"".join(
        f"{name.lower()}: {value.strip(' ' + chr(9))}\r\n".encode("latin-1")
        for name, value in headers.items()
        if fault(name, value) is None and not name.lower().startswith(without)
    )
