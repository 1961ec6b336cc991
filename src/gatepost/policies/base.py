"""What a policy is built from.

The contract of a policy itself is `exchange.Policy`; here is what a builder gets beside its own piece of configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import msgspec

from gatepost.config import schema
from gatepost.exchange import Consumer, Policy
from gatepost.policies.limiters import LimiterStates

_Use = TypeVar("_Use")

# Raises ValueError with a sentence for the operator where the configuration cannot be obeyed.
Builder: TypeAlias = "Callable[[_Use, PolicyContext], Policy]"


class PolicyContext(msgspec.Struct, frozen=True):
    """The surroundings of one route's policies. `states` is the app's and outlives every snapshot."""

    route: str
    consumers: Mapping[bytes, Consumer]  # by the SHA-256 of each key: `consumer_index`
    states: LimiterStates


def consumer_index(consumers: Mapping[str, schema.Consumer]) -> dict[bytes, Consumer]:
    """Every declared key's digest and whose it is. Raises ValueError where two consumers have the same key."""
    index: dict[bytes, Consumer] = {}
    for name, declared in consumers.items():
        routes = None if declared.routes is None else frozenset(declared.routes)
        consumer = Consumer(name, routes, declared.metadata)
        for key in declared.keys:
            digest = bytes.fromhex(key.sha256)
            other = index.setdefault(digest, consumer)
            if other is not consumer:
                raise ValueError(f"consumers.{name} has a key that consumers.{other.id} has too")
    return index
