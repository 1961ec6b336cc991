"""The settings of policies, one file each: `PolicyUse` is the list of what a route may use.

The behaviour stands in `gatepost.policies`, in a file of the same name.
"""

from __future__ import annotations

from gatepost.config.policies.anonymous import AnonymousPolicy
from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.basic import BasicPolicy
from gatepost.config.policies.body_size import BodySizePolicy
from gatepost.config.policies.cache import CachePolicy
from gatepost.config.policies.combined import AllOfPolicy, AnyOfPolicy
from gatepost.config.policies.compress import CompressPolicy
from gatepost.config.policies.concurrency import ConcurrencyPolicy
from gatepost.config.policies.cors import CorsPolicy
from gatepost.config.policies.headers import HeadersPolicy
from gatepost.config.policies.http_signature import HttpSignaturePolicy
from gatepost.config.policies.ip import IpPolicy
from gatepost.config.policies.jwt import JwtPolicy
from gatepost.config.policies.method import MethodPolicy
from gatepost.config.policies.mock import MockPolicy
from gatepost.config.policies.mtls import MtlsPolicy
from gatepost.config.policies.oauth2_introspection import Oauth2IntrospectionPolicy
from gatepost.config.policies.python import PythonPolicy
from gatepost.config.policies.query import QueryPolicy
from gatepost.config.policies.queue import QueuePolicy
from gatepost.config.policies.quota import QuotaPolicy
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.config.policies.redirect import RedirectPolicy
from gatepost.config.policies.request_id import RequestIdPolicy
from gatepost.config.policies.rewrite import RewritePolicy
from gatepost.config.policies.security_headers import SecurityHeadersPolicy
from gatepost.config.policies.transform import TransformPolicy
from gatepost.config.policies.validate import ValidatePolicy
from gatepost.config.policies.validate_response import ValidateResponsePolicy
from gatepost.config.policies.version import VersionPolicy
from gatepost.config.policies.webhook_signature import WebhookSignaturePolicy
from gatepost.config.values import Strict


class PolicyUse(Strict, frozen=True):
    """One policy of a route: exactly one of these is set."""

    api_key: ApiKeyPolicy | None = None
    basic: BasicPolicy | None = None
    jwt: JwtPolicy | None = None
    oauth2_introspection: Oauth2IntrospectionPolicy | None = None
    http_signature: HttpSignaturePolicy | None = None
    webhook_signature: WebhookSignaturePolicy | None = None
    mtls: MtlsPolicy | None = None
    ip: IpPolicy | None = None
    anonymous: AnonymousPolicy | None = None
    any_of: AnyOfPolicy | None = None
    all_of: AllOfPolicy | None = None
    rate_limit: RateLimitPolicy | None = None
    quota: QuotaPolicy | None = None
    concurrency: ConcurrencyPolicy | None = None
    queue: QueuePolicy | None = None
    body_size: BodySizePolicy | None = None
    cache: CachePolicy | None = None
    compress: CompressPolicy | None = None
    validate: ValidatePolicy | None = None
    validate_response: ValidateResponsePolicy | None = None
    mock: MockPolicy | None = None
    request_id: RequestIdPolicy | None = None
    cors: CorsPolicy | None = None
    redirect: RedirectPolicy | None = None
    security_headers: SecurityHeadersPolicy | None = None
    version: VersionPolicy | None = None
    headers: HeadersPolicy | None = None
    query: QueryPolicy | None = None
    rewrite: RewritePolicy | None = None
    method: MethodPolicy | None = None
    transform: TransformPolicy | None = None
    policy: PythonPolicy | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            names = ", ".join(self.__struct_fields__)
            raise ValueError(f"must be exactly one of {names}; where its defaults serve, write `{{}}` after its name")
