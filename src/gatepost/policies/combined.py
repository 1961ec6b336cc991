"""`any_of` and `all_of`: several ways to say who is calling.

- `any_of`: the first way whose credential is there decides. One that is wrong is refused, not skipped: else a stolen
  or expired token would fall through to whatever asks for less. Where none is there, the answer names every way.
- `all_of`: each in turn must let it pass, and they must not speak of two different consumers.

A way that has to wait makes its combination wait, from there on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final, NamedTuple

from gatepost.config.policies.combined import AllOfPolicy, AnyOfPolicy, CredentialUse
from gatepost.errors import Problem
from gatepost.exchange import CLAIMS, Answer, Consumer, Exchange, Phase, Policy, Response
from gatepost.http1.messages import Fields
from gatepost.policies import (
    anonymous,
    api_key,
    basic,
    http_signature,
    ip,
    jwt,
    mtls,
    oauth2_introspection,
    webhook_signature,
)
from gatepost.policies.base import Builder, PolicyContext, SettingFault
from gatepost.policies.credentials import Credentials, Refusal, refusal

_MISSING: Final = Problem(401, "credentials-missing", "A credential is needed")
_DIFFER: Final = Problem(403, "consumers-differ", "The credentials are those of different consumers")


def build_any_of(use: AnyOfPolicy, context: PolicyContext) -> AnyOf:
    return AnyOf(_built(use.policies, context))


def build_all_of(use: AllOfPolicy, context: PolicyContext) -> AllOf:
    return AllOf(_built(use.policies, context), context)


# What may stand in them, by its name in `CredentialUse`.
CREDENTIALS: Final[Mapping[str, Builder[Any]]] = {
    "api_key": api_key.build,
    "basic": basic.build,
    "jwt": jwt.build,
    "oauth2_introspection": oauth2_introspection.build,
    "http_signature": http_signature.build,
    "webhook_signature": webhook_signature.build,
    "mtls": mtls.build,
    "ip": ip.build,
    "anonymous": anonymous.build,
    "all_of": build_all_of,
}


class AnyOf(Policy):
    """The answer of the first way whose credential is there; 401 where none is."""

    name = "any_of"
    phase = Phase.IDENTIFY

    def __init__(self, ways: tuple[Policy, ...]) -> None:
        self._ways = ways
        self.needs_request_body = any(way.needs_request_body for way in ways)

    def on_request(self, x: Exchange) -> Answer:
        return self._from(x, 0, [])

    def _from(self, x: Exchange, place: int, missing: list[Refusal]) -> Answer:
        ways = self._ways
        while place < len(ways):
            answer = ways[place].on_request(x)
            place += 1
            if isinstance(answer, Refusal) and answer.missing:
                missing.append(answer)
            elif answer is None or isinstance(answer, Response):
                return answer
            else:
                return self._later(x, answer, place, missing)
        return _none(x, missing)

    async def _later(
        self, x: Exchange, waiting: Awaitable[Response | None], place: int, missing: list[Refusal]
    ) -> Response | None:
        answer = await waiting
        if not (isinstance(answer, Refusal) and answer.missing):
            return answer
        missing.append(answer)
        rest = self._from(x, place, missing)
        return rest if rest is None or isinstance(rest, Response) else await rest


class _Before(NamedTuple):
    """What ways may change of a request."""

    consumer: Consumer | None
    fields: Fields
    query: bytes


class AllOf(Policy):
    """The first refusal of any way; passes where every way lets it pass."""

    name = "all_of"
    phase = Phase.IDENTIFY

    def __init__(self, ways: tuple[Policy, ...], context: PolicyContext) -> None:
        self._ways = ways
        self._credentials = Credentials(context, self.name, "")
        self.needs_request_body = any(way.needs_request_body for way in ways)

    def on_request(self, x: Exchange) -> Answer:
        return self._from(x, 0, x.consumer, _Before(x.consumer, x.head.fields, x.query))

    def _from(self, x: Exchange, place: int, known: Consumer | None, before: _Before) -> Answer:
        ways = self._ways
        while place < len(ways):
            answer = ways[place].on_request(x)
            place += 1
            if answer is not None and not isinstance(answer, Response):
                return self._later(x, answer, place, known, before)
            answer = self._judge(x, answer, known, before)
            if answer is not None:
                return answer
            known = x.consumer
        return None

    async def _later(
        self, x: Exchange, waiting: Awaitable[Response | None], place: int, known: Consumer | None, before: _Before
    ) -> Response | None:
        answer = self._judge(x, await waiting, known, before)
        if answer is not None:
            return answer
        rest = self._from(x, place, x.consumer, before)
        return rest if rest is None or isinstance(rest, Response) else await rest

    def _judge(self, x: Exchange, answer: Response | None, known: Consumer | None, before: _Before) -> Response | None:
        if isinstance(answer, Refusal) and answer.missing:
            # Half of what is needed is as good as nothing: another way of an `any_of` begins where this one began.
            x.consumer, x.head.fields, x.query = before
            if x.notes is not None:
                x.notes.pop(CLAIMS, None)
        if answer is not None or known is None or x.consumer is None or x.consumer.id == known.id:
            return answer
        return self._credentials.not_allowed(x, _DIFFER)


def _none(x: Exchange, missing: list[Refusal]) -> Response:
    """No credential is there. RFC 9110 §11.6.1: the challenges of every way, each in a field of its own."""
    challenges = [field for each in missing for field in each.fields if field[0] == b"www-authenticate"]
    if not challenges:
        return missing[-1]
    return refusal(x, _MISSING, challenges, missing=True)


def _built(uses: tuple[CredentialUse, ...], context: PolicyContext) -> tuple[Policy, ...]:
    policies = []
    for place, use in enumerate(uses):
        for name in use.__struct_fields__:
            config = getattr(use, name)
            if config is None:
                continue
            try:
                policies.append(CREDENTIALS[name](config, context))
            except SettingFault as fault:
                raise SettingFault(f"[{place}].{name}.{fault.setting}".rstrip("."), str(fault)) from None
            except ValueError as error:
                raise SettingFault(f"[{place}].{name}", str(error)) from None
    return tuple(policies)
