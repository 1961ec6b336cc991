"""`oauth2_introspection`: the caller shows a token, and its issuer is asked about it."""

from __future__ import annotations

from typing import Literal

from gatepost.config.policies.bearer import BearerSettings
from gatepost.config.values import EndpointUrl, File, Seconds, Secret


class Oauth2IntrospectionPolicy(BearerSettings, frozen=True, kw_only=True):
    url: EndpointUrl
    client_id: str
    client_secret: Secret
    client_auth: Literal["basic", "post"] = "basic"
    ca: File | None = None  # PEM file of the authorities to trust there; the system's otherwise
    timeout: Seconds = 2.0
    ttl: Seconds = 60.0  # that an active token is remembered at most; never longer than its `exp`
    negative_ttl: Seconds = 10.0  # that an inactive one is
    issuers: tuple[str, ...] = ()  # none: any
    audiences: tuple[str, ...] = ()  # none: any

    def __post_init__(self) -> None:
        if self.timeout == 0:
            raise ValueError("`timeout` must be longer than 0")
