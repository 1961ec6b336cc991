"""The contract of a signature scheme. `tests/conformance/test_signatures.py` holds for every implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple, Protocol

from gatepost.http1.messages import Fields
from gatepost.model import Secret

TOLERANCE: Final = 300.0  # seconds that a signature's time may differ from ours, before and after


class Verified(NamedTuple):
    """What a good signature vouches for besides the body."""

    id: str  # the sender's name for the message, to deduplicate on; "" where the scheme signs none
    timestamp: float  # Unix seconds; 0.0 where the scheme signs none


class IncomingScheme(Protocol):
    """Verifies. Instances hold no secret and no state: one serves everyone."""

    @property
    def name(self) -> str: ...
    @property
    def field(self) -> bytes:
        """The field that carries the signature, in lower case: without it there is none."""
        ...

    def verify(
        self, fields: Fields, body: bytes, secrets: Sequence[str], now: float, tolerance: float = TOLERANCE
    ) -> Verified:
        """As `Scheme.verify`."""
        ...


class Scheme(Protocol):
    """Signs and verifies. Instances hold no secret and no state: one serves everyone."""

    name: ClassVar[str]

    def sign(self, id: str, timestamp: int, body: bytes, secrets: Sequence[Secret]) -> Fields:
        """The fields that the scheme adds to a request, lower-case. `timestamp` is in Unix seconds. Raises
        SignatureError where a secret is malformed, or none is in force at `timestamp`."""
        ...

    def verify(
        self, fields: Fields, body: bytes, secrets: Sequence[str], now: float, tolerance: float = TOLERANCE
    ) -> Verified:
        """Return only if one of `secrets` signed this body. `fields` are a request's, with lower-case names.

        Raises SignatureError in every other case: missing, doubled, malformed, too old, too new, wrong. What came
        from the sender is compared in constant time, and is never part of the error's text.
        """
        ...


class Signer(Protocol):
    """Signs for one endpoint, its keys decoded beforehand."""

    def lines(self, id: bytes, timestamp: int, body: bytes) -> bytes:
        """The scheme's fields as they stand in a head, each with its CRLF. Raises SignatureError where no secret
        is in force at `timestamp`."""
        ...
