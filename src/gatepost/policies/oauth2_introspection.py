"""`oauth2_introspection`: the caller shows a token, and its issuer is asked about it (RFC 7662).

What was answered is remembered by the token's SHA-256: for `ttl` and never beyond its `exp`, and shorter where it is
not active. Those who show one token at the same time share one question. Where there is no answer nobody passes.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import quote_plus, urlencode

from gatepost import log
from gatepost.clock import Clock
from gatepost.config.policies.oauth2_introspection import Oauth2IntrospectionPolicy
from gatepost.errors import Problem, SignatureError
from gatepost.exchange import Answer, Exchange, Phase, Policy, Response
from gatepost.http1.messages import Fields
from gatepost.net.fetch import Fetcher, FetchError
from gatepost.net.tls import client_context
from gatepost.net.url import parse_url
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.bearer import Bearer, Grounds, check_audience, is_number, settings_digest
from gatepost.policies.credentials import unavailable
from gatepost.policies.remembered import Remembered
from gatepost.signatures.jwt import LONGEST, json_object

RETRY: Final = 1.0  # seconds after a failure in which nobody asks again
_LOGGED: Final = 30.0  # seconds between two lines about failures
_ANSWER: Final = 65_536  # bytes
_DOWN: Final = Problem(503, "introspection-unavailable", "Tokens cannot be checked now", "Try again later.")


def build(use: Oauth2IntrospectionPolicy, context: PolicyContext) -> Oauth2Introspection:
    return Oauth2Introspection(use, context)


class Oauth2Introspection(Policy):
    """Sets `x.consumer` and the claims; 401 where the token is not active, 403 where it does not suffice, 503 where
    its issuer does not say."""

    name = "oauth2_introspection"
    phase = Phase.IDENTIFY

    def __init__(self, config: Oauth2IntrospectionPolicy, context: PolicyContext) -> None:
        self._bearer = bearer = Bearer(config, context, self.name)
        self._now = context.clock.now
        try:
            parse_url(config.url)
        except ValueError as error:
            raise SettingFault("url", str(error)) from None
        tls = client_context(ca=config.ca) if config.ca is not None else None
        self._issuer = context.states.get(
            (self.name, settings_digest(config)),
            lambda: _Issuer(config, bearer, context.fetcher, context.clock, tls),
        )
        self.needs_request_body = bearer.needs_body

    def on_request(self, x: Exchange) -> Answer:
        token = self._bearer.shown(x)
        if not isinstance(token, bytes):
            return token
        if len(token) > LONGEST:
            return self._bearer.invalid(x, f"it is longer than {LONGEST} bytes")
        digest = sha256(token).digest()
        known = self._issuer.known.get(digest, self._now())
        if known is not None:
            return self._decide(x, known)
        if self._issuer.resting:
            return unavailable(x, _DOWN)
        return self._after(x, self._issuer.ask(x.loop, token, digest))

    def _after(self, x: Exchange, answer: asyncio.Task[_Known | None]) -> Awaitable[Response | None]:
        async def decide() -> Response | None:
            known = await asyncio.shield(answer)  # who leaves must not take the answer from the others
            return unavailable(x, _DOWN) if known is None else self._decide(x, known)

        return decide()

    def _decide(self, x: Exchange, known: _Known) -> Response | None:
        if known.grounds is None:
            return self._bearer.invalid(x, known.reason)
        return self._bearer.admit(x, known.grounds)


class _Known(NamedTuple):
    """What is known of a token: what it is good for, or why it is not."""

    grounds: Grounds | None
    reason: str = ""


class _Issuer:
    """Who is asked. Owns what was answered and the questions that are under way."""

    __slots__ = (
        "__weakref__",
        "_asking",
        "_bearer",
        "_clock",
        "_config",
        "_fetcher",
        "_fields",
        "_form",
        "_logged_at",
        "_rests_until",
        "_tls",
        "known",
    )

    def __init__(
        self,
        config: Oauth2IntrospectionPolicy,
        bearer: Bearer,
        fetcher: Fetcher,
        clock: Clock,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._config = config
        self._bearer = bearer
        self._fetcher = fetcher
        self._clock = clock
        self._tls = tls
        self._fields, self._form = _client(config)
        self._asking: dict[bytes, asyncio.Task[_Known | None]] = {}
        self._rests_until = self._logged_at = float("-inf")
        self.known: Remembered[_Known] = Remembered()

    @property
    def resting(self) -> bool:
        return self._clock.monotonic() < self._rests_until

    def ask(self, loop: asyncio.AbstractEventLoop, token: bytes, digest: bytes) -> asyncio.Task[_Known | None]:
        """What is known then; None: no answer. It never fails."""
        task = self._asking.get(digest)
        if task is None:
            task = self._asking[digest] = loop.create_task(self._ask(token, digest))
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        return task

    async def _ask(self, token: bytes, digest: bytes) -> _Known | None:
        config = self._config
        form = urlencode({"token": token, "token_type_hint": "access_token", **self._form}).encode()
        try:
            answer = await self._fetcher.fetch(
                "POST", config.url, fields=self._fields, body=form, timeout=config.timeout, limit=_ANSWER, tls=self._tls
            )
            if answer.status != 200:
                raise FetchError(f"the answer has the status {answer.status}")
            known, until = self._read(answer.body)
        except (FetchError, SignatureError) as error:
            self._failed(error)
            return None
        self.known.put(digest, known, until)
        return known

    def _read(self, body: bytes) -> tuple[_Known, float]:
        """What the answer says, and until when (Unix seconds). Raises SignatureError where it is none."""
        config, now = self._config, self._clock.now()
        said = json_object(body)
        active = said.get("active")
        if not isinstance(active, bool):  # RFC 7662 §2.2: the one member that is required
            raise SignatureError("the answer does not say whether the token is active")
        refused = now + config.negative_ttl
        if not active:
            return _Known(None, "it is not active"), refused
        expires = said.get("exp")
        try:
            for name in ("exp", "nbf"):
                if name in said and not is_number(said[name]):
                    raise SignatureError(f"its claim {name} is no number")
            if expires is not None and expires <= now:
                raise SignatureError("it has expired")
            if said.get("nbf", 0) > now:
                raise SignatureError("it is not valid yet")
            if config.issuers and said.get("iss") not in config.issuers:
                raise SignatureError("it comes from another issuer")
            if config.audiences:
                check_audience(said, config.audiences)
            grounds = self._bearer.grounds(body, said)
        except SignatureError as error:
            return _Known(None, str(error)), refused
        return _Known(grounds), now + config.ttl if expires is None else min(now + config.ttl, float(expires))

    def _failed(self, error: Exception) -> None:
        now = self._clock.monotonic()
        self._rests_until = now + RETRY
        if now >= self._logged_at + _LOGGED:
            self._logged_at = now
            log.event("introspection_failed", level="error", url=self._config.url.partition("?")[0], reason=error)


def _client(config: Oauth2IntrospectionPolicy) -> tuple[Fields, dict[str, str]]:
    """How the gateway says who it is: fields, and what goes into the form."""
    fields = [(b"accept", b"application/json"), (b"content-type", b"application/x-www-form-urlencoded")]
    if config.client_auth == "post":
        return fields, {"client_id": config.client_id, "client_secret": str(config.client_secret)}
    # RFC 6749 §2.3.1: both are form-encoded before they are joined.
    pair = f"{quote_plus(config.client_id)}:{quote_plus(config.client_secret)}".encode()
    return [*fields, (b"authorization", b"Basic " + base64.b64encode(pair))], {}
