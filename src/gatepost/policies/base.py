"""What a policy is built from.

The contract of a policy itself is `exchange.Policy`; here is what a builder gets beside its own piece of configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import msgspec

from gatepost.clock import Clock, SystemClock
from gatepost.exchange import Policy
from gatepost.net.fetch import OFFLINE, Fetcher
from gatepost.notices import SILENT, Notices
from gatepost.policies.logins import Login
from gatepost.policies.quota_counts import QuotaBook
from gatepost.policies.states import States
from gatepost.stores.access import Access

_Use = TypeVar("_Use")

# Raises ValueError with a sentence for the operator where the configuration cannot be obeyed.
Builder: TypeAlias = "Callable[[_Use, PolicyContext], Policy]"


class SettingFault(ValueError):
    """A setting that cannot be obeyed: `setting` is its path below the policy (`request.set.Host`), so that the fault
    is shown with its own line."""

    def __init__(self, setting: str, reason: str) -> None:
        self.setting = setting
        super().__init__(reason)


class PolicyContext(msgspec.Struct, frozen=True):
    """The surroundings of one route's policies. `states`, `notices` and `fetcher` are the app's and outlive every
    snapshot."""

    route: str
    access: Access
    states: States
    notices: Notices = SILENT
    fetcher: Fetcher = OFFLINE
    clock: Clock = SystemClock()
    logins: Mapping[str, Login] = {}  # by user name
    quotas: QuotaBook = msgspec.field(default_factory=QuotaBook)
