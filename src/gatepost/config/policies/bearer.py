"""What `jwt` and `oauth2_introspection` have in common: where a token is shown, and what its claims mean here.

A claim is named by its key, or by a path to it with full stops: `sub`, `realm_access.roles`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from gatepost.config.values import Expr, Header, Strict

Claim: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class BearerSettings(Strict, frozen=True, kw_only=True):
    header: Header = "Authorization"
    cookie: str | None = None  # name of a cookie that may carry the token instead
    forward: bool = True  # the service gets the token too
    consumer: Claim | None = None  # names one of this gateway's consumers; without it everyone who has a token may pass
    plan: Claim | None = None  # names the plan, or a list of them
    scope_claim: Claim = "scope"
    scopes: tuple[str, ...] = ()  # all of these must be granted
    allow: Expr | None = None  # a condition, over `consumer.claims` for one
    headers: dict[Header, Claim] = {}  # what the service is told, by field
