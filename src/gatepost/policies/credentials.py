"""The one rule for credentials, whatever their kind.

- none was shown: 401, with the scheme's `WWW-Authenticate`;
- one was shown and is wrong, or was shown twice: 401, and a notice `auth.failed`;
- it is good, and its consumer may not do this: 403, and a notice;
- it cannot be checked now: 503. Never is anybody let through for want of an answer.

A policy of the identify phase makes its refusals here, so that all of them look alike, and so that `any_of` can tell a
credential that is missing (another kind may do) from one that is wrong (nothing else may).
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Final

from gatepost.errors import Problem
from gatepost.exchange import Consumer, Exchange, Response, problem
from gatepost.http1.messages import Field, Fields, RequestHead
from gatepost.policies.base import PolicyContext
from gatepost.stores.access import Access

REALM: Final = 'realm="gatepost"'
RETRY_AFTER: Final = (b"retry-after", b"1")


class Refusal(Response):
    """`missing`: no credential of this kind was shown, so that another kind may decide."""

    missing: bool = False


class Credentials:
    """How one policy of one route refuses and admits."""

    __slots__ = ("_access", "_notices", "_policy", "_route", "_scheme", "_subject")

    def __init__(self, context: PolicyContext, policy: str, scheme: str) -> None:
        """`scheme` is the challenge without its realm: `Basic`, `Bearer`."""
        self._access: Access = context.access
        self._notices = context.notices
        self._route = context.route
        self._policy = policy
        self._scheme = scheme
        self._subject = f"route:{context.route} policy:{policy}"

    def missing(self, x: Exchange, p: Problem, extra: str = "") -> Refusal:
        return refusal(x, p, [self._challenge(extra)], missing=True)

    def elsewhere(self, x: Exchange, p: Problem, extra: str) -> Refusal:
        """What was shown is good for somebody else, if for anyone: as if nothing was shown here."""
        return refusal(x, p, [self._challenge(extra)], missing=True)

    def wrong(self, x: Exchange, p: Problem, extra: str = "") -> Refusal:
        """`extra` is what the scheme says of it in its challenge: `error="invalid_token"` (RFC 6750 §3.1)."""
        self._tell(x, p)
        return refusal(x, p, [self._challenge(extra)])

    def not_allowed(self, x: Exchange, p: Problem, extra: str = "") -> Refusal:
        self._tell(x, p)
        return refusal(x, p, [self._challenge(extra)] if extra else [])

    def admit(self, x: Exchange, consumer: Consumer) -> Refusal | None:
        """Make the exchange its consumer's, or refuse it where the consumer may not use the route."""
        x.consumer = consumer
        if consumer.may_use(self._route, x.head.method):
            return None
        return self.not_allowed(x, NOT_ALLOWED)

    def admit_named(self, x: Exchange, name: str) -> Refusal | None:
        """The same by name. It is looked up each time: a consumer that is gone is refused from then on."""
        consumer = self._access.consumer(name)
        if consumer is None:
            return self.not_allowed(x, UNKNOWN)
        return self.admit(x, consumer)

    def _challenge(self, extra: str) -> Field:
        return b"www-authenticate", f"{self._scheme} {REALM}{', ' + extra if extra else ''}".encode()

    def _tell(self, x: Exchange, p: Problem) -> None:
        self._notices.tell(
            "auth.failed",
            self._subject,
            {"route": self._route, "policy": self._policy, "reason": p.slug, "client": x.client},
        )


NOT_ALLOWED: Final = Problem(403, "consumer-not-allowed", "The consumer may not use this route")
UNKNOWN: Final = Problem(403, "consumer-unknown", "The credential is good, but it names no consumer of this gateway")


def unavailable(x: Exchange, p: Problem) -> Response:
    """It cannot be checked now: try again later."""
    return problem(x.id, p, [RETRY_AFTER])


def authorization(head: RequestHead, scheme: bytes) -> list[bytes]:
    """What `Authorization` fields carry for `scheme` (lower case). Another scheme's is none of ours: it is not here,
    and stays in the request."""
    found = []
    for value in head.all(b"authorization"):
        name, _, rest = value.partition(b" ")
        if name.lower() == scheme:  # RFC 9110 §11.1: its case does not matter
            found.append(rest.strip(b" "))
    return found


def take_field(x: Exchange, name: bytes, keep: Callable[[bytes], bool] | None = None) -> None:
    """Take the fields of a name out of the request, those that `keep` names excepted. The list that heads share is
    left as it is."""
    x.head.fields = [field for field in x.head.fields if field[0] != name or (keep is not None and keep(field[1]))]


def base64(text: bytes) -> bytes:
    """Base64 as RFC 4648 §4 has it. Raises ValueError: a lenient decoder skips what it does not know."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def refusal(x: Exchange, p: Problem, fields: Fields | None = None, *, missing: bool = False) -> Refusal:
    """One that is told to nobody."""
    made = problem(x.id, p, fields)
    return Refusal(made.status, made.fields, made.body, made.outcome, missing)
