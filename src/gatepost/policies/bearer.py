"""Bearer tokens, whoever vouches for them: where one is shown (RFC 6750), and what its claims mean here.

`jwt` and `oauth2_introspection` find out what the claims are; the rest is here. What follows from the claims alone is
worked out once a token (`Grounds`) and remembered with it; what depends on the request, or on what the API may have
changed since (consumers, plans), is asked for each time.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec

from gatepost.config.policies.bearer import BearerSettings
from gatepost.errors import ExpressionError, Problem, SignatureError
from gatepost.exchange import CLAIMS, Consumer, Exchange
from gatepost.expressions import REQUEST_VARIABLES, ExchangeEnvironment, compile_expression
from gatepost.http1.framing import SPECIAL
from gatepost.http1.messages import Field, Fields
from gatepost.plans import Grant
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.cookies import cookie_name, cookie_values, without_cookie
from gatepost.policies.credentials import UNKNOWN, Credentials, Refusal
from gatepost.stores.access import Access

Claims: TypeAlias = dict[str, Any]

LONGEST_VALUE: Final = 4_096  # bytes of a claim that goes into a field
_GRANTS_KEPT: Final = 1_024
_INVALID: Final = 'error="invalid_token"'
_DOUBLED: Final = Problem(401, "token-doubled", "More than one token was sent", "Send one.")
_LACKING: Final = Problem(403, "scope-missing", "The token does not grant enough")
_REFUSED: Final = Problem(403, "claims-refused", "The token's claims do not allow this")
_NO_PLAN: Final = Problem(403, "plan-unknown", "The token names no plan of this gateway")


class Grounds(msgspec.Struct, frozen=True):
    """What follows from the claims of one good token."""

    raw: bytes  # the claims as JSON, for expressions
    caller: str  # what the claim of `consumer` says, or else `sub`
    plans: tuple[str, ...]
    lacking: bool  # a scope that is needed is not granted
    fields: Fields  # for the service


class Bearer:
    """One policy's tokens."""

    __slots__ = (
        "_access",
        "_allow",
        "_bare",
        "_config",
        "_cookie",
        "_grants",
        "_header",
        "_missing",
        "_names",
        "_scope",
        "credentials",
        "needs_body",
    )

    def __init__(self, config: BearerSettings, context: PolicyContext, policy: str) -> None:
        """Raises ValueError where a setting cannot be obeyed."""
        self._config = config
        self._header = _plain_header(config.header, "header")
        self._bare = self._header != b"authorization"
        self._cookie = cookie_name(config.cookie)
        self._access: Access = context.access
        self._grants: dict[tuple[str, ...], Grant] = {}
        self._names = {_plain_header(name, f"headers.{name}"): claim for name, claim in config.headers.items()}
        if self._header in self._names:
            raise SettingFault(f"headers.{config.header}", "carries the token")
        self._scope = f'error="insufficient_scope", scope="{" ".join(config.scopes)}"'
        if not all(" " < character <= "~" and character not in '"\\' for scope in config.scopes for character in scope):
            raise SettingFault("scopes", "holds a character that no scope has (RFC 6749 §3.3)")
        self.credentials = Credentials(context, policy, "Bearer")
        self._allow, self.needs_body = _condition(config.allow)
        where = f"`{config.header}: {'' if self._bare else 'Bearer '}…`"
        where += f" or the cookie {config.cookie}" if config.cookie is not None else ""
        self._missing = Problem(401, "token-missing", "A token is needed", f"Send it as {where}.")

    def shown(self, x: Exchange) -> bytes | Refusal:
        """The one token that the request carries."""
        header, found = self._header, []
        for name, value in x.head.fields:
            if name == header:
                scheme, _, rest = value.rstrip(b" \t").partition(b" ")
                if scheme.lower() == b"bearer":  # RFC 9110 §11.1: the scheme's case does not matter
                    found.append(rest.strip(b" "))
                elif self._bare:
                    found.append(value.rstrip(b" \t"))
        if self._cookie is not None:
            found += cookie_values(x.head, self._cookie)
        if len(found) == 1 and found[0]:
            return found[0]
        if len(found) > 1:
            return self.credentials.wrong(x, _DOUBLED, 'error="invalid_request"')
        return self.credentials.missing(x, self._missing)

    def invalid(self, x: Exchange, reason: str) -> Refusal:
        return self.credentials.wrong(x, _invalid(reason), _INVALID)

    def foreign(self, x: Exchange, reason: str) -> Refusal:
        """The token is not of the kind that is looked for: in an `any_of` another way may know it. Who sends it wins
        nothing by that, for another way can be had by sending no token at all."""
        return self.credentials.elsewhere(x, _invalid(reason), _INVALID)

    def expired(self, x: Exchange) -> Refusal:
        return self.credentials.wrong(x, Problem(401, "token-expired", "The token has expired"), _INVALID)

    def grounds(self, raw: bytes, claims: Claims) -> Grounds:
        """What follows from these claims. Raises SignatureError where they cannot be used."""
        config = self._config
        granted = texts(claim(claims, config.scope_claim), split=True)
        caller = claim(claims, config.consumer or "sub")
        if caller is None and config.consumer is None:
            caller = claims.get("client_id", "")  # RFC 9068 §2.2: who acts for nobody but itself
        if not isinstance(caller, str) or (config.consumer is not None and not caller):
            raise SignatureError(f"its claim {config.consumer or 'sub'} names nobody")
        return Grounds(
            raw,
            caller,
            texts(claim(claims, config.plan)) if config.plan is not None else (),
            not set(config.scopes) <= set(granted),
            [_field(name, path, claims) for name, path in self._names.items()],
        )

    def admit(self, x: Exchange, grounds: Grounds) -> Refusal | None:
        """The token is good: may its caller do this?"""
        config, credentials = self._config, self.credentials
        x.note(CLAIMS, grounds.raw)
        consumer = Consumer(grounds.caller) if grounds.caller else None
        if config.consumer is not None:
            consumer = self._access.consumer(grounds.caller)
            if consumer is None:
                return credentials.not_allowed(x, UNKNOWN)
        if config.plan is not None:
            grant = self._grant(grounds.plans)
            if grant is None:
                return credentials.not_allowed(x, _NO_PLAN)
            consumer = msgspec.structs.replace(consumer or Consumer(""), grant=grant)
        if consumer is not None:
            refusal = credentials.admit(x, consumer)
            if refusal is not None:
                return refusal
        if grounds.lacking:
            return credentials.not_allowed(x, _LACKING, self._scope)
        if self._allow is not None and not self._allow(x):
            return credentials.not_allowed(x, _REFUSED)
        if not config.forward:
            self._take(x)
        if self._names:
            names = self._names
            x.head.fields = [field for field in x.head.fields if field[0] not in names] + [
                field for field in grounds.fields if field[1]
            ]
        return None

    def _grant(self, names: tuple[str, ...]) -> Grant | None:
        """Of those of the plans that there are: made anew when one of them is another one."""
        plans = {name: plan for name in names if (plan := self._access.plan(name)) is not None}
        if not plans:
            return None
        known = self._grants.get(names)
        if known is not None and known.plans == tuple(plans.values()):
            return known
        if len(self._grants) >= _GRANTS_KEPT:
            self._grants.clear()
        grant = self._grants[names] = Grant(tuple(plans), plans)
        return grant

    def _take(self, x: Exchange) -> None:
        kept = [
            (name, value)
            for name, value in x.head.fields
            if name != self._header or not (self._bare or value[:7].lower() == b"bearer ")
        ]
        x.head.fields = kept if self._cookie is None else without_cookie(kept, self._cookie)


def claim(claims: Claims, path: str) -> Any:
    """The claim of that name, or the one that the path with full stops leads to; None where there is none."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def texts(value: Any, *, split: bool = False) -> tuple[str, ...]:
    """A list of texts, or one; with `split` a text is one of words (RFC 8693 §4.2: `scope`)."""
    if isinstance(value, str):
        return tuple(value.split(" ")) if split else (value,)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def check_audience(claims: Claims, audiences: tuple[str, ...]) -> None:
    """RFC 7519 §4.1.3: a text or a list of texts, of which one must be ours. Raises SignatureError."""
    value = claims.get("aud")
    meant = [value] if isinstance(value, str) else value
    if not isinstance(meant, list) or not all(isinstance(each, str) for each in meant):
        raise SignatureError("its claim aud is neither a text nor a list of texts")
    if not set(meant) & set(audiences):
        raise SignatureError("it is meant for another audience")


def settings_digest(config: BearerSettings) -> bytes:
    """What tells two settings apart, as the key of a state. A digest: settings hold secrets."""
    return sha256(msgspec.json.encode(config, enc_hook=str)).digest()


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _invalid(reason: str) -> Problem:
    return Problem(401, "token-invalid", "The token is not valid", reason[:1].upper() + reason[1:] + ".")


def _plain_header(name: str, setting: str) -> bytes:
    lower = name.lower().encode()
    if lower in SPECIAL:
        raise SettingFault(setting, f"{name} has a meaning of its own in HTTP and cannot be used here")
    return lower


def _condition(expression: str | None) -> tuple[Callable[[Exchange], bool] | None, bool]:
    if expression is None:
        return None, False
    try:
        program = compile_expression(expression, variables=REQUEST_VARIABLES, result="bool")
    except ExpressionError as error:
        raise SettingFault("allow", str(error)) from None

    def holds(x: Exchange) -> bool:
        try:
            return program.evaluate(ExchangeEnvironment(x)) is True
        except ExpressionError:
            return False  # a claim that is not there allows nothing

    return holds, "request.body" in program.references


def _field(name: bytes, path: str, claims: Claims) -> Field:
    value = claim(claims, path)
    if value is None:
        return name, b""
    text = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
    if len(text) > LONGEST_VALUE or any(byte < 0x20 or byte == 0x7F for byte in text):
        raise SignatureError(f"its claim {path} cannot stand in a header")
    return name, text.strip(b" ")
