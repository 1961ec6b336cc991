"""Who may call the gateway, in memory: consumers, found by their keys and their names."""

from __future__ import annotations

from collections.abc import Mapping

from gatepost.config import schema
from gatepost.exchange import Consumer


class Access:
    """Consumers of the file. Raises ValueError where two of them have the same key."""

    __slots__ = ("_by_key", "_by_name")

    def __init__(self, declared: Mapping[str, schema.Consumer] | None = None) -> None:
        self._by_name: dict[str, Consumer] = {}
        self._by_key: dict[bytes, Consumer] = {}
        for name, each in (declared or {}).items():
            routes = None if each.routes is None else frozenset(each.routes)
            consumer = self._by_name[name] = Consumer(name, routes, each.metadata)
            for key in each.keys:
                other = self._by_key.setdefault(bytes.fromhex(key.sha256), consumer)
                if other is not consumer:
                    raise ValueError(f"consumers.{name} has a key that consumers.{other.id} has too")

    def by_key(self, digest: bytes) -> Consumer | None:
        """Whose key it is, by the key's SHA-256."""
        return self._by_key.get(digest)

    def consumer(self, name: str) -> Consumer | None:
        return self._by_name.get(name)
