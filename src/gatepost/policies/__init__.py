"""Policies: rules on a route's way in and out, one file each.

`base.py` says what a policy is built from; `POLICIES` below is what ships. A new policy is a file with a `build`, a
field of `config.PolicyUse`, a line here and a chapter in docs/policies.md; `tests/conformance/test_policies.py`
then holds it to the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gatepost.config.policies import PolicyUse
from gatepost.exchange import Policy
from gatepost.policies import (
    anonymous,
    api_key,
    basic,
    body_size,
    cache,
    combined,
    compress,
    concurrency,
    cors,
    headers,
    http_signature,
    ip,
    jwt,
    method,
    mock,
    mtls,
    oauth2_introspection,
    python,
    query,
    queue,
    quota,
    rate_limit,
    redirect,
    request_id,
    rewrite,
    security_headers,
    transform,
    validate,
    validate_response,
    version,
    webhook_signature,
)
from gatepost.policies.base import Builder, PolicyContext, SettingFault

POLICIES: Final[dict[str, Builder[Any]]] = {
    "api_key": api_key.build,
    "basic": basic.build,
    "jwt": jwt.build,
    "oauth2_introspection": oauth2_introspection.build,
    "http_signature": http_signature.build,
    "webhook_signature": webhook_signature.build,
    "mtls": mtls.build,
    "ip": ip.build,
    "anonymous": anonymous.build,
    "any_of": combined.build_any_of,
    "all_of": combined.build_all_of,
    "rate_limit": rate_limit.build,
    "quota": quota.build,
    "concurrency": concurrency.build,
    "queue": queue.build,
    "body_size": body_size.build,
    "cache": cache.build,
    "compress": compress.build,
    "validate": validate.build,
    "validate_response": validate_response.build,
    "mock": mock.build,
    "request_id": request_id.build,
    "cors": cors.build,
    "redirect": redirect.build,
    "security_headers": security_headers.build,
    "version": version.build,
    "headers": headers.build,
    "query": query.build,
    "rewrite": rewrite.build,
    "method": method.build,
    "transform": transform.build,
    "policy": python.build,
}

# Those that may say who the consumer is.
IDENTIFYING: Final = (
    *("api_key", "basic", "jwt", "oauth2_introspection", "http_signature", "webhook_signature", "mtls", "anonymous"),
    *("any_of", "all_of", "policy"),
)


def build_policy(use: PolicyUse, context: PolicyContext) -> Policy:
    """The policy that one entry of a route's list asks for. Raises ValueError where it cannot be obeyed."""
    for name, build in POLICIES.items():
        config = getattr(use, name)
        if config is not None:
            try:
                return build(config, context)
            except SettingFault as fault:
                setting = f"{name}.{fault.setting}".rstrip(".").replace(".[", "[")
                raise SettingFault(setting, str(fault)) from None
            except ValueError as fault:  # a sentence that may begin with its setting: "by: there is no `foo`"
                setting, colon, reason = str(fault).partition(": ")
                if not colon or setting not in config.__struct_fields__:
                    raise SettingFault(name, str(fault)) from None
                raise SettingFault(f"{name}.{setting}", reason) from None
    raise ValueError("names no policy")


def check_together(uses: Sequence[PolicyUse]) -> None:
    """What the policies of one route must keep together. Raises ValueError."""
    names = [limit.name for use in uses for limit in (use.rate_limit, use.quota) if limit is not None]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two rate limits of one route are named {name}: give each its own `name`")
    names = [use.concurrency.name for use in uses if use.concurrency is not None]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two limits of concurrency of one route are named {name}: give each its own `name`")
    if len([use for use in uses if use.queue is not None]) > 1:
        raise ValueError("a route can have one queue only: who waits in two lines may wait for ever")
    if not any(getattr(use, name) is not None for use in uses for name in IDENTIFYING):
        for use in uses:
            for name in ("rate_limit", "quota", "concurrency", "queue"):
                limit = getattr(use, name)
                if limit is not None and limit.by is not None and limit.by.startswith("consumer."):
                    raise ValueError(
                        f"`{name}` counts by {limit.by}, but no policy of this route says who the consumer is: add "
                        "api_key, jwt or another that does, or count by client.address"
                    )
    for name in ("cache", "compress"):
        if len([use for use in uses if getattr(use, name) is not None]) > 1:
            raise ValueError(f"a route can have one {name} only")
