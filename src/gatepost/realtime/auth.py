"""Who may subscribe to what: public topics, and tokens that name topics.

A token is a JWT as Mercure's: HS256, `{"mercure": {"subscribe": ["/shop/orders/12345"]}, "exp": …}`. It comes in
`Authorization: Bearer` or in the cookie `mercureAuthorization` (a browser's EventSource can set no header), never in
the URL. It must end: a token without `exp` is refused, and a stream does not outlive its token.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final, TypeGuard

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from gatepost.config import schema
from gatepost.errors import Problem
from gatepost.http1.messages import RequestHead
from gatepost.realtime.topics import Selector

COOKIE: Final = "mercureAuthorization"
SHORTEST_SECRET: Final = 32  # bytes. RFC 7518 §3.2: "a key of the same size as the hash output or larger MUST be used"
LONGEST_TOKEN: Final = 8_192


def faults_of(config: schema.Live) -> list[tuple[str, str]]:
    """Every setting that cannot be obeyed, as its path in the section, and why."""
    faults: list[tuple[str, str]] = []
    if config.jwt_secret is not None and len(config.jwt_secret.encode()) < SHORTEST_SECRET:
        faults.append(("jwt_secret", f"must have at least {SHORTEST_SECRET} bytes; `openssl rand -hex 32` does"))
    for place, text in enumerate(config.public):
        try:
            Selector(text)
        except ValueError as error:
            faults.append((f"public[{place}]", str(error)))
    return faults


class Authorizer:
    """Answers from memory; one a configuration."""

    def __init__(self, config: schema.Live) -> None:
        """Raises ValueError where `faults_of` finds any."""
        for setting, reason in faults_of(config):
            raise ValueError(f"live.{setting}: {reason}")
        self._public = [Selector(text) for text in config.public]
        secret = config.jwt_secret
        self._key = None if secret is None else OctKey.import_key(secret.encode())

    def admit(self, head: RequestHead, topics: list[str], now: float) -> float | Problem:
        """Until when (Unix seconds, infinity without a token) these topics may be followed, or why not at all."""
        private = [topic for topic in topics if not any(selector.matches(topic) for selector in self._public)]
        if not private:
            return inf
        if self._key is None:
            return _forbidden(private[0])
        token = _token_of(head)
        if token is None:
            detail = f"{private[0]} is not public. Send a token as `Authorization: Bearer` or in the cookie {COOKIE}."
            return Problem(401, "token-missing", "A token is needed", detail)
        claims = self._claims(token, self._key)
        if claims is None:
            return Problem(401, "token-invalid", "The token is not valid", "It must be a JWT signed with HS256.")
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not _is_number(expires):
            return Problem(401, "token-invalid", "The token is not valid", "It must say when it ends (`exp`).")
        if expires <= now:
            return Problem(401, "token-expired", "The token has expired")
        if not _is_number(begins) or begins > now:
            return Problem(401, "token-invalid", "The token is not valid yet")
        allowed = _selectors(claims)
        for topic in private:
            if not any(selector.matches(topic) for selector in allowed):
                return _forbidden(topic)
        return float(expires)

    def _claims(self, token: str, key: OctKey) -> dict[str, Any] | None:
        if len(token) > LONGEST_TOKEN:
            return None
        try:
            return jwt.decode(token, key, algorithms=["HS256"]).claims
        except (JoseError, ValueError):
            return None


def _forbidden(topic: str) -> Problem:
    return Problem(403, "topic-forbidden", "The topic may not be subscribed to", f"No permission covers {topic}.")


def _token_of(head: RequestHead) -> str | None:
    values = head.all(b"authorization")
    if values:
        scheme, _, token = values[0].partition(b" ")
        return token.strip().decode("latin-1") if len(values) == 1 and scheme.lower() == b"bearer" else None
    for field in head.all(b"cookie"):
        for pair in field.decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE:
                return value.strip('"')
    return None


def _selectors(claims: dict[str, Any]) -> list[Selector]:
    """Those of the claim `mercure.subscribe`. What is no selector of ours (`*`, a URI) permits nothing."""
    mercure = claims.get("mercure")
    texts = mercure.get("subscribe") if isinstance(mercure, dict) else None
    selectors: list[Selector] = []
    for text in texts if isinstance(texts, list) else []:
        try:
            selectors.append(Selector(text))
        except (ValueError, AttributeError):
            continue
    return selectors


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
