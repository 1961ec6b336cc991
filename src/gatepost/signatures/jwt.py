"""JSON Web Tokens as bytes: RFC 7519 in the compact form of RFC 7515, taken apart strictly.

Whose key verifies a token is the reader's choice, never the token's: `jwk`, `jku`, `x5c` and `x5u` in its header, which
name a key or where to fetch one, are not looked at, and `kid` is compared and nothing else.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any, Final, NamedTuple, NoReturn

from gatepost.errors import SignatureError

LONGEST: Final = 16_384  # bytes; a header field has no more in most servers
_PART: Final = re.compile(rb"[A-Za-z0-9_-]+")


class Token(NamedTuple):
    """A token that nobody has verified yet: believe nothing of it."""

    algorithm: str
    key_id: str | None
    signed: bytes  # what the signature is over
    signature: bytes
    payload: bytes  # the claims' JSON as it came


def parse(token: bytes) -> Token:
    """Raises SignatureError for what is no signed token, or asks for what we do not do (RFC 7515 §4.1.11, `crit`)."""
    if len(token) > LONGEST:
        raise SignatureError(f"it is longer than {LONGEST} bytes")
    parts = token.split(b".")
    if len(parts) != 3:
        raise SignatureError("it is not three parts with a full stop between them")
    header = json_object(_decode(parts[0]))
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(key_id, str | None):
        raise SignatureError("its header is not one of a signed token")
    if "crit" in header or "b64" in header:
        raise SignatureError("its header asks for an extension that is not known here")
    # An unsigned token ends in an empty part, which `_decode` refuses: there is no way to `"alg": "none"`.
    signature = _decode(parts[2])
    return Token(algorithm, key_id, b"%b.%b" % (parts[0], parts[1]), signature, _decode(parts[1]))


def json_object(text: bytes) -> dict[str, Any]:
    """A JSON object in which no key stands twice: of two readers each could take another one. Raises SignatureError."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise SignatureError("it holds no JSON object, or one with a key twice") from None
    if not isinstance(value, dict):
        raise SignatureError("it holds no JSON object")
    return value


def decode_part(text: str) -> bytes:
    """base64url without padding, RFC 7515 §2. Raises SignatureError."""
    return _decode(text.encode("latin-1", "replace"))


def _decode(part: bytes) -> bytes:
    if not _PART.fullmatch(part):
        raise SignatureError("one of its parts is not base64url")
    try:
        raw = binascii.a2b_base64(part.translate(_STANDARD) + b"=" * (-len(part) % 4), strict_mode=True)
    except binascii.Error:
        raise SignatureError("one of its parts is not base64url") from None
    # Bits behind the last byte would give one token several spellings, and a list of revoked ones none of the others.
    if binascii.b2a_base64(raw, newline=False).rstrip(b"=") != part.translate(_STANDARD):
        raise SignatureError("one of its parts is not base64url")
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def _no_number(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
