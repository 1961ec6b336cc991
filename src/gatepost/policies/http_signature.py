"""`http_signature`: the caller signs its requests (RFC 9421), and the key says who it is.

A signature is worth what it covers. The configuration says what that must be at least, a body is covered by its
Content-Digest (RFC 9530), and a signature is good for a while only, from `created` on (or from a covered `Date`).
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from gatepost.config.policies.http_signature import HttpSignatureKey, HttpSignaturePolicy
from gatepost.errors import Problem, SignatureError
from gatepost.exchange import Exchange, Phase, Policy, Response
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.credentials import Credentials, Refusal, unavailable
from gatepost.signatures.algorithms import Verifier, public_key
from gatepost.signatures.digest import check_digest
from gatepost.signatures.http_message import Component, Message, Signed, component, signatures, verify, verifying_key

NONCES: Final = 100_000  # that are remembered; some 20 MB
LONGEST_NONCE: Final = 256
_MISSING: Final = Problem(401, "signature-missing", "A signature is needed")
_FULL: Final = Problem(503, "nonces-full", "Too many signatures came at once", "Try again later.")
_DIGEST: Final = Component("content-digest")
_DATE: Final = Component("date")
# What covers more covers less: RFC 9421 §2.2.
_WIDER: Final = {
    "@path": ("@request-target", "@target-uri"),
    "@query": ("@request-target", "@target-uri"),
    "@authority": ("@target-uri",),
    "@scheme": ("@target-uri",),
}


def build(use: HttpSignaturePolicy, context: PolicyContext) -> HttpSignature:
    return HttpSignature(use, context)


class _Key(NamedTuple):
    algorithm: str
    verify: Verifier
    consumer: str | None


class HttpSignature(Policy):
    """Sets `x.consumer`; 401 without a good signature that covers enough, 403 where the key's consumer may not."""

    name = "http_signature"
    phase = Phase.IDENTIFY

    def __init__(self, config: HttpSignaturePolicy, context: PolicyContext) -> None:
        self._config = config
        self._keys = {name: _key(f"keys.{name}", key) for name, key in config.keys.items()}
        self._required = _required(config.components)
        self._now = context.clock.now
        self._credentials = Credentials(context, self.name, "Signature")
        # A nonce counts once for its key, whichever of the routes with these keys it was shown to.
        self._nonces = context.states.get((self.name, *sorted(config.keys)), Nonces) if config.nonce else None
        self.needs_request_body = config.body

    def on_request(self, x: Exchange) -> Response | None:
        head = x.head
        fields = head.fields + head.special
        try:
            signed = signatures(fields)
            if not signed:
                return self._credentials.missing(x, _MISSING)
            one, key = self._chosen(signed)
            now = self._now()
            self._check(one, key, fields, x.body or b"", now)
            message = Message(
                head.method.decode("latin-1"),
                x.scheme.decode("latin-1"),
                head.host.decode("latin-1"),
                _origin_form(head.target),
                fields,
            )
            verify(message, one, key.verify)
            if self._nonces is not None:
                refusal = self._once(x, self._nonces, one, now)
                if refusal is not None:
                    return refusal
        except SignatureError as error:
            return self._wrong(x, str(error))
        return None if key.consumer is None else self._credentials.admit_named(x, key.consumer)

    def _chosen(self, signed: list[Signed]) -> tuple[Signed, _Key]:
        """The first one by a key of ours: others may stand beside it for others."""
        tag = self._config.tag
        for one in signed:
            key = self._keys.get(one.key_id or "")
            if key is not None and (tag is None or one.parameters.get("tag") == tag):
                return one, key
        raise SignatureError("no signature is by a key that is known here")

    def _check(self, one: Signed, key: _Key, fields: list[tuple[bytes, bytes]], body: bytes, now: float) -> None:
        """Everything but the signature itself. Raises SignatureError."""
        config = self._config
        if one.parameters.get("alg", key.algorithm) != key.algorithm:
            raise SignatureError("the signature's algorithm is not its key's")
        for each in self._required:
            if not one.covers(each) and not any(one.covers(Component(wider)) for wider in _WIDER.get(each.name, ())):
                raise SignatureError(f"the signature does not cover {each.identifier}")
        created, expires = one.number("created"), one.number("expires")
        times = [] if created is None else [float(created)]
        if one.covers(_DATE):
            times.append(_date(fields))
        if not times:
            raise SignatureError("the signature says nowhere when it was created")
        if max(times) > now + config.skew:
            raise SignatureError("the signature's time is in the future")
        if min(times) < now - config.max_age or (expires is not None and expires < now - config.skew):
            raise SignatureError("the signature is too old")
        covered = one.covers(_DIGEST)
        if config.body and body and not covered:
            raise SignatureError("the signature does not cover the body by its content-digest")
        if config.body and covered:
            check_digest(fields, body)

    def _once(self, x: Exchange, nonces: Nonces, one: Signed, now: float) -> Response | None:
        nonce = one.parameters.get("nonce")
        if not isinstance(nonce, str) or not 0 < len(nonce) <= LONGEST_NONCE:
            return self._wrong(x, "the signature has no nonce")
        # No signature is good for longer, so that this many seconds suffice, and all wait equally long.
        until = now + self._config.max_age + self._config.skew
        new = nonces.add((one.key_id or "", nonce), now, until)
        if new is None:
            return unavailable(x, _FULL)
        return None if new else self._wrong(x, "the signature was used before")

    def _wrong(self, x: Exchange, reason: str) -> Refusal:
        detail = reason[:1].upper() + reason[1:] + "."
        return self._credentials.wrong(x, Problem(401, "signature-invalid", "The signature is not valid", detail))


class Nonces:
    """Those that were used, until they could not be used anyway. Bounded: full, it says so instead of forgetting."""

    __slots__ = ("__weakref__", "_used")

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], float] = {}

    def add(self, nonce: tuple[str, str], now: float, until: float) -> bool | None:
        """True where it is new, False where it was used, None where there is no room."""
        used = self._used
        while used:
            first = next(iter(used))
            if used[first] > now:
                break
            del used[first]
        if nonce in used:
            return False
        if len(used) >= NONCES:
            return None
        used[nonce] = until
        return True


def _key(setting: str, key: HttpSignatureKey) -> _Key:
    try:
        material = public_key(key.public_key) if key.public_key is not None else (key.secret or "").encode()
        return _Key(key.algorithm, verifying_key(key.algorithm, material), key.consumer)
    except (SignatureError, ValueError) as error:
        raise SettingFault(setting, str(error)) from None


def _required(texts: tuple[str, ...]) -> tuple[Component, ...]:
    required = []
    for place, text in enumerate(texts):
        try:
            required.append(component(text))
        except ValueError as error:
            raise SettingFault(f"components[{place}]", str(error)) from None
    return tuple(required)


def _origin_form(target: bytes) -> bytes:
    """Path and query: of a target in absolute form too (RFC 9112 §3.2.2)."""
    if target.startswith(b"/"):
        return target
    rest = target.partition(b"://")[2]
    slash = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    return rest[slash:] if rest[slash : slash + 1] == b"/" else b"/" + rest[slash:]


def _date(fields: list[tuple[bytes, bytes]]) -> float:
    values = [value for name, value in fields if name == b"date"]
    try:
        (value,) = values
        return parsedate_to_datetime(value.decode("ascii")).timestamp()
    except (ValueError, TypeError):
        raise SignatureError("the field date is no date") from None
