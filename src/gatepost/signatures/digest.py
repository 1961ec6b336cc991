"""Content-Digest (RFC 9530): what a body's bytes hash to, in a field that a signature can cover."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from gatepost.errors import SignatureError
from gatepost.http1.messages import Field, Fields
from gatepost.signatures.structured import Item, dictionary, serialize

FIELD: Final = b"content-digest"
_ALGORITHMS: Final = {"sha-256": "sha256", "sha-512": "sha512"}  # RFC 9530 §5: the others are not safe any more


def content_digest(body: bytes, algorithm: str = "sha-256") -> Field:
    """The field for a body."""
    digest = hashlib.new(_ALGORITHMS[algorithm], body).digest()
    return FIELD, f"{algorithm}={serialize(Item(digest, {}))}".encode()


def check_digest(fields: Fields, body: bytes) -> None:
    """Return only if the field is there and every digest in it that we can make is the body's, at least one.

    Raises SignatureError.
    """
    values = [value for name, value in fields if name == FIELD]
    if not values:
        raise SignatureError("content-digest is missing")
    known = False
    for name, member in dictionary(b", ".join(values)).items():
        algorithm = _ALGORITHMS.get(name)
        if algorithm is None:
            continue
        known = True
        said = member.value if isinstance(member, Item) else None
        if not isinstance(said, bytes) or not hmac.compare_digest(said, hashlib.new(algorithm, body).digest()):
            raise SignatureError("content-digest is not that of the body")
    if not known:
        raise SignatureError("content-digest has neither sha-256 nor sha-512")
