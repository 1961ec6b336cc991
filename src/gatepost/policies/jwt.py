"""`jwt`: the caller shows a signed token (RFC 7519), held to RFC 8725.

The configuration says which algorithms count, and each key serves only the algorithms that it fits; the token's header
chooses among those and nothing else. A good token is remembered by its SHA-256 until it expires, so that the next
request with it costs a look-up instead of a signature check.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from hashlib import sha256
from typing import Final

from gatepost.config.policies.jwt import JwtPolicy
from gatepost.errors import Problem, SignatureError
from gatepost.exchange import Answer, Exchange, Phase, Policy, Response
from gatepost.net.tls import client_context
from gatepost.net.url import parse_url
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.bearer import Bearer, Claims, check_audience, is_number, settings_digest
from gatepost.policies.credentials import unavailable
from gatepost.policies.key_sets import FetchedKeys, FixedKeys, KeySource
from gatepost.signatures.algorithms import public_key, symmetric
from gatepost.signatures.jwks import Key, KeySet, key_of, key_set
from gatepost.signatures.jwt import Token, json_object, parse

ENDLESS: Final = 300.0  # seconds that a token without `exp` is remembered
_NO_KEYS: Final = Problem(503, "keys-unavailable", "Tokens cannot be verified now", "Try again later.")


def build(use: JwtPolicy, context: PolicyContext) -> Jwt:
    return Jwt(use, context)


class Jwt(Policy):
    """Sets `x.consumer` and the claims; 401 without a good token, 403 where it does not suffice, 503 without keys."""

    name = "jwt"
    phase = Phase.IDENTIFY

    def __init__(self, config: JwtPolicy, context: PolicyContext) -> None:
        self._config = config
        self._bearer = Bearer(config, context, self.name)
        self._now = context.clock.now
        self._monotonic = context.clock.monotonic
        self._source = _source(config, context)
        self.needs_request_body = self._bearer.needs_body

    def on_request(self, x: Exchange) -> Answer:
        token = self._bearer.shown(x)
        if not isinstance(token, bytes):
            return token
        source = self._source
        now = self._monotonic()
        if now >= source.due and source.keys(now) is not None:
            source.renew(x.loop)
        digest = sha256(token).digest()
        known = source.verified.get(digest, self._now())
        if known is not None and source.keys(now) is not None:
            return self._bearer.admit(x, known)
        if token.count(b".") != 2:
            return self._bearer.foreign(x, "it is not three parts with a full stop between them")
        try:
            parsed = parse(token)
            issuers = self._config.issuers
            if issuers and json_object(parsed.payload).get("iss") not in issuers:
                return self._bearer.foreign(x, "it comes from another issuer")
        except SignatureError as error:
            return self._bearer.invalid(x, str(error))
        if parsed.algorithm not in self._config.algorithms:
            return self._bearer.invalid(x, "its algorithm is not one that counts here")
        keys = source.keys(now)
        if (keys is None or not keys.find(parsed.algorithm, parsed.key_id)) and source.may_ask(now):
            return self._after_renewal(x, parsed, digest)
        return self._decide(x, parsed, digest, keys)

    def _after_renewal(self, x: Exchange, token: Token, digest: bytes) -> Awaitable[Response | None]:
        renewal = self._source.renew(x.loop)

        async def decide() -> Response | None:
            await asyncio.shield(renewal)  # who leaves must not take the answer from the others
            return self._decide(x, token, digest, self._source.keys(self._monotonic()))

        return decide()

    def _decide(self, x: Exchange, token: Token, digest: bytes, keys: KeySet | None) -> Response | None:
        bearer = self._bearer
        if keys is None:
            return unavailable(x, _NO_KEYS)
        if not any(verify(token.signed, token.signature) for verify in keys.find(token.algorithm, token.key_id)):
            return bearer.invalid(x, "no key of its issuer signed it")
        now = self._now()
        try:
            claims = json_object(token.payload)
            until = self._check(claims, now)
            grounds = bearer.grounds(token.payload, claims)
        except SignatureError as error:
            return bearer.invalid(x, str(error))
        if until <= now:
            return bearer.expired(x)
        self._source.verified.put(digest, grounds, min(until, now + ENDLESS) if math.isinf(until) else until)
        return bearer.admit(x, grounds)

    def _check(self, claims: Claims, now: float) -> float:
        """Until when (Unix seconds) the claims hold. Raises SignatureError where they do not at all."""
        config = self._config
        for name in config.require:
            if name not in claims:
                raise SignatureError(f"its claim {name} is missing")
        times = {}
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name)
            if name in claims and not is_number(value):
                raise SignatureError(f"its claim {name} is no number")
            times[name] = value
        if times["nbf"] is not None and times["nbf"] > now + config.skew:
            raise SignatureError("it is not valid yet")
        if times["iat"] is not None and times["iat"] > now + config.skew:
            raise SignatureError("it was issued in the future")
        # RFC 7519 §4.1.3: who finds itself not named in an `aud` that is there must refuse the token.
        if config.audiences or "aud" in claims:
            check_audience(claims, config.audiences)
        return math.inf if times["exp"] is None else float(times["exp"]) + config.skew


def _source(config: JwtPolicy, context: PolicyContext) -> KeySource:
    # What was verified holds for these very settings, so they are its name: another audience is another memory.
    if config.jwks_url is None:
        keys = _fixed(config)
        return context.states.get(("jwt", settings_digest(config)), lambda: FixedKeys(keys))
    secret = [name for name in config.algorithms if symmetric(name)]
    if secret:
        raise SettingFault("algorithms", f"{secret[0]} needs `secrets`: keys of a URL are known to everyone")
    url = config.jwks_url
    try:
        parse_url(url)
    except ValueError as error:
        raise SettingFault("jwks_url", str(error)) from None
    tls = client_context(ca=config.jwks_ca) if config.jwks_ca is not None else None
    return context.states.get(
        ("jwt", settings_digest(config)),
        lambda: FetchedKeys(
            url,
            config.algorithms,
            fetcher=context.fetcher,
            clock=context.clock,
            refresh=config.jwks_refresh,
            stale=config.jwks_stale,
            tls=tls,
        ),
    )


def _fixed(config: JwtPolicy) -> KeySet:
    keys: list[Key] = []
    setting = "jwks"
    try:
        if config.jwks is not None:
            return _every_algorithm(key_set(config.jwks.encode(), config.algorithms, symmetric=True), config)
        for place, secret in enumerate(config.secrets):
            setting = f"secrets[{place}]"
            keys.append(key_of(secret.encode(), config.algorithms))
        for place, pem in enumerate(config.public_keys):
            setting = f"public_keys[{place}]"
            keys.append(key_of(public_key(pem), config.algorithms))
    except SignatureError as error:
        raise SettingFault(setting, str(error)) from None
    return _every_algorithm(KeySet(keys), config)


def _every_algorithm(keys: KeySet, config: JwtPolicy) -> KeySet:
    for name in config.algorithms:
        if name not in keys.kinds:
            raise SettingFault("algorithms", f"no key here is one of {name}")
    return keys
