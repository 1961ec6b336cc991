"""`jwt`: the caller shows a signed token."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from gatepost.config.policies.bearer import BearerSettings
from gatepost.config.values import EndpointUrl, File, Seconds, Secret

JwtAlgorithm: TypeAlias = Literal[
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]


class JwtPolicy(BearerSettings, frozen=True, kw_only=True):
    algorithms: Annotated[tuple[JwtAlgorithm, ...], msgspec.Meta(min_length=1)]
    secrets: tuple[Secret, ...] = ()  # for HS…; several while one is replaced
    public_keys: tuple[Secret, ...] = ()  # PEM
    jwks: Secret | None = None  # a key set as JSON
    jwks_url: EndpointUrl | None = None  # where it is fetched
    jwks_ca: File | None = None  # PEM file of the authorities to trust there; the system's otherwise
    jwks_refresh: Seconds = 900.0
    jwks_stale: Seconds = 86_400.0  # how long the last set serves while the URL gives none
    issuers: tuple[str, ...] = ()  # none: any
    audiences: tuple[str, ...] = ()
    require: tuple[str, ...] = ("exp",)  # claims that must be there
    skew: Seconds = 30.0  # that clocks may differ by

    def __post_init__(self) -> None:
        sources = [self.secrets, self.public_keys, self.jwks, self.jwks_url]
        if sum(bool(source) for source in sources) != 1:
            raise ValueError(
                "needs exactly one of `secrets`, `public_keys`, `jwks` and `jwks_url`: where its keys come from"
            )
        if self.jwks_refresh == 0:
            raise ValueError("`jwks_refresh` must be longer than 0")
        if self.jwks_ca is not None and self.jwks_url is None:
            raise ValueError("`jwks_ca` needs `jwks_url`")
