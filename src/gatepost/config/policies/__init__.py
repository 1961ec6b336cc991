"""The settings of policies, one file each: `PolicyUse` is the list of what a route may use.

The behaviour stands in `gatepost.policies`, in a file of the same name.
"""

from __future__ import annotations

from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.cache import CachePolicy
from gatepost.config.policies.mock import MockPolicy
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.config.policies.validate import ValidatePolicy
from gatepost.config.policies.validate_response import ValidateResponsePolicy
from gatepost.config.values import Strict


class PolicyUse(Strict, frozen=True):
    """One policy of a route: exactly one of these is set."""

    api_key: ApiKeyPolicy | None = None
    rate_limit: RateLimitPolicy | None = None
    validate: ValidatePolicy | None = None
    validate_response: ValidateResponsePolicy | None = None
    mock: MockPolicy | None = None
    cache: CachePolicy | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            names = ", ".join(self.__struct_fields__)
            raise ValueError(f"must be exactly one of {names}; where its defaults serve, write `{{}}` after its name")
