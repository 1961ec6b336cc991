"""`any_of` and `all_of`: several ways to say who is calling.

`CredentialUse` is the list of what may stand in them. An `any_of` may hold an `all_of`; deeper they do not nest, and
need not: what a route lists one below the other is an `all_of` already.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from gatepost.config.policies.anonymous import AnonymousPolicy
from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.basic import BasicPolicy
from gatepost.config.policies.http_signature import HttpSignaturePolicy
from gatepost.config.policies.ip import IpPolicy
from gatepost.config.policies.jwt import JwtPolicy
from gatepost.config.policies.mtls import MtlsPolicy
from gatepost.config.policies.oauth2_introspection import Oauth2IntrospectionPolicy
from gatepost.config.policies.webhook_signature import WebhookSignaturePolicy
from gatepost.config.values import Strict


class CredentialUse(Strict, frozen=True, kw_only=True):
    """One way: exactly one of these is set."""

    api_key: ApiKeyPolicy | None = None
    basic: BasicPolicy | None = None
    jwt: JwtPolicy | None = None
    oauth2_introspection: Oauth2IntrospectionPolicy | None = None
    http_signature: HttpSignaturePolicy | None = None
    webhook_signature: WebhookSignaturePolicy | None = None
    mtls: MtlsPolicy | None = None
    ip: IpPolicy | None = None
    anonymous: AnonymousPolicy | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            names = ", ".join(self.__struct_fields__)
            raise ValueError(f"must be exactly one of {names}; where its defaults serve, write `{{}}` after its name")


class AllOfPolicy(Strict, frozen=True, kw_only=True):
    short: ClassVar[str] = "policies"

    policies: Annotated[tuple[CredentialUse, ...], msgspec.Meta(min_length=2)]


class AlternativeUse(CredentialUse, frozen=True, kw_only=True):
    all_of: AllOfPolicy | None = None


class AnyOfPolicy(Strict, frozen=True, kw_only=True):
    short: ClassVar[str] = "policies"

    policies: Annotated[tuple[AlternativeUse, ...], msgspec.Meta(min_length=2)]
