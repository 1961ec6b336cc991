"""Who may call the gateway, in memory: consumers, found by their keys and their names; and plans.

What is declared belongs to a snapshot, what is stored lives on its own. `Access` is one snapshot's view of both:

    gatepost.yaml ──► Access (one a snapshot) ──► by_key, consumer
    the API ──► store ──► StoredAccess (one a node, changed after each commit)

The file wins over the store: a stored consumer that has the name of a declared one is that one, with one key more. One
that was declared and is not any more is nobody.

A million keys of as many consumers take about 200 MiB (docs/decisions/0022-keys-in-memory.md): a consumer is made out
of its packed bytes when its key is shown, and the last ones are remembered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, cast

import msgspec

from gatepost import model
from gatepost.config import schema
from gatepost.config.units import duration
from gatepost.exchange import Consumer
from gatepost.plans import Grant
from gatepost.stores.packed import PackedIndex

REMEMBERED: Final = 32_768  # consumers that were made last


class StoredAccess:
    """What the store has of it. Owned by the store, which changes it on the event loop; everyone else only reads.

    `generation` changes with every change: what was concluded under an older one must be asked for again.
    """

    __slots__ = ("_keys", "_names", "_rows", "generation", "plans")

    def __init__(self) -> None:
        self.generation = 0
        self.plans: dict[str, model.Plan] = {}
        self._keys = PackedIndex()  # digest → consumer's key, when it expires
        self._names = PackedIndex()
        self._rows: list[bytes | None] = []  # by the consumer's key

    @property
    def keys(self) -> int:
        """How many may be shown."""
        return len(self._keys)

    def find(self, digest: bytes) -> tuple[int, int] | None:
        """(consumer's key, Unix seconds when it expires or 0) of a key that is not disabled."""
        return self._keys.get(digest)

    def find_name(self, name: str) -> int | None:
        """The consumer's key."""
        found = self._names.get(_tag(name))
        return None if found is None else found[0]

    def row(self, key: int) -> Row | None:
        packed = self._rows[key] if key < len(self._rows) else None
        return None if packed is None else _unpack(packed)

    # the owner's side

    def put_consumer(self, consumer: model.Consumer) -> None:
        rows = self._rows
        if consumer.key >= len(rows):
            rows.extend([None] * (consumer.key + 1 - len(rows)))
        old = self.row(consumer.key)
        if old is not None and old.name != consumer.name:
            self._names.drop(_tag(old.name))
        self._names.put(_tag(consumer.name), consumer.key)
        rows[consumer.key] = _pack(
            Row(
                consumer.name,
                None if consumer.routes is None else tuple(sorted(consumer.routes)),
                consumer.metadata,
                consumer.tags,
                consumer.plans,
                consumer.disabled,
                consumer.declared,
            )
        )
        self.generation += 1

    def drop_consumer(self, key: int) -> None:
        """Its keys lead nowhere from now on; `drop_keys` gives their memory back."""
        row = self.row(key)
        if row is not None:
            self._names.drop(_tag(row.name))
            self._rows[key] = None
            self.generation += 1

    def load_key(self, consumer: int, digest: bytes, expires: float | None) -> None:
        """A key that may be shown. It ends with the second in which it expires: never later than it says."""
        self._keys.put(digest, consumer, 0 if expires is None else max(1, int(expires)))

    def put_key(self, key: model.Key) -> None:
        if key.disabled:
            self._keys.drop(key.digest)
        else:
            self.load_key(key.consumer, key.digest, key.expires)
        self.generation += 1

    def drop_key(self, digest: bytes) -> None:
        self._keys.drop(digest)
        self.generation += 1

    def put_plan(self, plan: model.Plan) -> None:
        self.plans[plan.name] = plan
        self.generation += 1

    def drop_plan(self, name: str) -> None:
        self.plans.pop(name, None)
        self.generation += 1


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A stored consumer, as it is packed."""

    name: str
    routes: tuple[str, ...] | None
    metadata: dict[str, str]
    tags: tuple[str, ...]
    plans: tuple[str, ...]
    disabled: bool
    declared: bool


class Access:
    """One snapshot's view. Raises ValueError where two declared consumers have the same key."""

    __slots__ = (
        "_by_key", "_by_name", "_declared_grants", "_generation", "_grants", "_made", "_now",
        "declared", "plans", "stored",
    )  # fmt: skip

    def __init__(
        self,
        declared: Mapping[str, schema.Consumer] | None = None,
        plans: Mapping[str, schema.Plan] | None = None,
        stored: StoredAccess | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.stored = StoredAccess() if stored is None else stored
        self.declared = declared or {}
        self.plans = {name: plan_of(name, each) for name, each in (plans or {}).items()}
        self._now = now
        self._generation = -1
        self._grants: dict[tuple[str, ...], Grant] = {}
        self._made: dict[int, Consumer | None] = {}
        self._declared_grants: dict[tuple[str, ...], Grant] = {}  # the file's consumers name plans of the file only
        self._by_name: dict[str, Consumer | None] = {}
        self._by_key: dict[bytes, Consumer | None] = {}
        owners: dict[bytes, str] = {}
        for name, each in self.declared.items():
            consumer = self._by_name[name] = None if each.disabled else self._declare(name, each)
            for key in each.keys:
                digest = bytes.fromhex(key.sha256)
                other = owners.setdefault(digest, name)
                if other != name:
                    raise ValueError(f"consumers.{name} has a key that consumers.{other} has too")
                self._by_key[digest] = consumer

    @property
    def generation(self) -> int:
        """Changes whenever an answer of this view may have."""
        return self.stored.generation

    def by_key(self, digest: bytes) -> Consumer | None:
        """Whose key it is, by the key's SHA-256. None: nobody's, or not any more."""
        return self.shown(digest)[0]

    def shown(self, digest: bytes) -> tuple[Consumer | None, int]:
        """The same, and Unix seconds when the key expires or has expired; 0: never, or it is not known."""
        consumer = self._by_key.get(digest, _NOT_HERE)
        if consumer is not _NOT_HERE:
            return cast("Consumer | None", consumer), 0
        found = self.stored.find(digest)
        if found is None:
            return None, 0
        key, expires = found
        return (None if expires and expires <= self._now() else self._stored(key)), expires

    def is_over(self, expires: int) -> bool:
        """Whether that moment has come; 0 never does."""
        return 0 < expires <= self._now()

    def consumer(self, name: str) -> Consumer | None:
        """The consumer of that name, unless it is disabled."""
        if name in self._by_name:
            return self._by_name[name]
        key = self.stored.find_name(name)
        return None if key is None else self._stored(key)

    def plan(self, name: str) -> model.Plan | None:
        return self.plans.get(name) or self.stored.plans.get(name)

    def _declare(self, name: str, each: schema.Consumer) -> Consumer:
        grant = None
        if each.plans:
            grant = self._declared_grants.get(each.plans)
            if grant is None:
                grant = self._declared_grants[each.plans] = Grant(each.plans, self.plans)
        routes = None if each.routes is None else frozenset(each.routes)
        return Consumer(name, routes, each.metadata, each.tags, grant)

    def _stored(self, key: int) -> Consumer | None:
        stored = self.stored
        if self._generation != stored.generation:
            self._generation = stored.generation
            self._made.clear()
            self._grants.clear()
        try:
            return self._made[key]
        except KeyError:
            pass
        consumer = self._make(key)
        if len(self._made) >= REMEMBERED:
            self._made.clear()
        self._made[key] = consumer
        return consumer

    def _make(self, key: int) -> Consumer | None:
        row = self.stored.row(key)
        if row is None:
            return None
        if row.name in self._by_name:
            return self._by_name[row.name]
        if row.disabled or row.declared:
            return None
        routes = None if row.routes is None else frozenset(row.routes)
        return Consumer(row.name, routes, row.metadata, row.tags, self._grant(row.plans) if row.plans else None)

    def _grant(self, names: tuple[str, ...]) -> Grant:
        grant = self._grants.get(names)
        if grant is None:
            grant = self._grants[names] = Grant(names, {**self.stored.plans, **self.plans})
        return grant


def plan_of(name: str, plan: schema.Plan) -> model.Plan:
    """A declared plan as the noun."""
    return model.Plan(
        name,
        None if plan.routes is None else frozenset(plan.routes),
        None if plan.methods is None else frozenset(plan.methods),
        {each: model.Rate(rate.limit, rate.window) for each, rate in plan.rate_limits.items()},
        {each: model.Allotment(quota.limit, period_of(quota.period)) for each, quota in plan.quotas.items()},
        plan.concurrency,
        plan.metadata,
    )


def period_of(text: str) -> str | float:
    """`day`, `month`, or the seconds of a duration."""
    return text if text in ("day", "month") else duration(text)


def _tag(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=16).digest()


_NOT_HERE: Final = object()
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(Row).decode
