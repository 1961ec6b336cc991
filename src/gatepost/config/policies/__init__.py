"""The settings of policies, one file each: `PolicyUse` is the list of what a route may use.

The behaviour stands in `gatepost.policies`, in a file of the same name.
"""

from __future__ import annotations

from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.body_size import BodySizePolicy
from gatepost.config.policies.cache import CachePolicy
from gatepost.config.policies.concurrency import ConcurrencyPolicy
from gatepost.config.policies.cors import CorsPolicy
from gatepost.config.policies.headers import HeadersPolicy
from gatepost.config.policies.method import MethodPolicy
from gatepost.config.policies.mock import MockPolicy
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
from gatepost.config.values import Strict


class PolicyUse(Strict, frozen=True):
    """One policy of a route: exactly one of these is set."""

    api_key: ApiKeyPolicy | None = None
    rate_limit: RateLimitPolicy | None = None
    quota: QuotaPolicy | None = None
    concurrency: ConcurrencyPolicy | None = None
    queue: QueuePolicy | None = None
    body_size: BodySizePolicy | None = None
    validate: ValidatePolicy | None = None
    validate_response: ValidateResponsePolicy | None = None
    mock: MockPolicy | None = None
    cache: CachePolicy | None = None
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
