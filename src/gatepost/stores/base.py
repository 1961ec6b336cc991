"""The store contract: what is true, kept on disk. `sqlite.py` implements it; the suite of
`tests/conformance/test_store.py` holds for every implementation.

Two kinds of calls:

- **Hot** (`accept`, `complete`): called on the event loop, return at once. Many callers share one transaction (group
  commit), and `done` runs on the loop after that transaction is on disk, in commit order. `on_commit` listeners hear
  of the accepted messages of a commit, in order, *before* the `done` of any of them: the hand-over to delivery never
  depends on the caller.
- **Cold** (everything `async`): reads run beside the writer and are paged; writes go through the same writer.

The `directory` is the nearest part of the store, in memory: apps and endpoints, always as the last commit left them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from gatepost.lifecycle import State
from gatepost.model import App, Attempt, Consumer, Delivery, Endpoint, Key, Message, Plan
from gatepost.stores.access import StoredAccess
from gatepost.stores.analytics import AnalyticsStore
from gatepost.stores.audit import AuditStore
from gatepost.stores.captures import CaptureStore
from gatepost.stores.control import ControlStore
from gatepost.stores.delivering import DeliveringStore
from gatepost.stores.directory import Directory
from gatepost.stores.following import FollowingStore
from gatepost.stores.keeping import KeepingStore
from gatepost.stores.lanes import Lanes
from gatepost.stores.shaped import ShapedStore

T = TypeVar("T")


class NewMessage(msgspec.Struct):
    """A message to accept, already validated and matched. The store assigns `id` when it is handed in."""

    app: int  # key
    event_type: str
    payload: bytes  # JSON text, kept byte for byte
    endpoints: Sequence[int] = ()  # keys of the endpoints it goes to; a delivery due at once for each
    channels: tuple[str, ...] = ()
    event_id: str | None = None  # unique in the app
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None  # `auto_…` keys are kept ten minutes in memory, others 12 hours on disk
    body_digest: bytes = b""  # tells a repeated request from another one under the same key
    keep: float | None = None  # seconds that the payload is kept; None: as the configuration says
    skipped: Sequence[int] = ()  # keys of disabled endpoints that it would go to: their deliveries are SKIPPED
    orders: dict[int, int] | None = None  # by endpoint, among which deliveries it goes in order
    id: int = 0
    directed: bool = False  # `endpoints` were named, not matched
    more: bool = False  # the one handed in next is of the same transaction


class Accepted(NamedTuple):
    """The message is on disk."""

    id: int


class Repeated(NamedTuple):
    """The idempotency key was seen: `id` is the first request's message. `same` is False where its body differed."""

    id: int
    same: bool


class EventIdTaken(NamedTuple):
    """Another message of the app has this `event_id`; nothing was written."""

    id: int


class Refused(NamedTuple):
    """The store could not write. Nothing of this message is on disk."""

    reason: str


Outcome: TypeAlias = Accepted | Repeated | EventIdTaken | Refused
Done: TypeAlias = Callable[[Outcome], None]
OnCommit: TypeAlias = Callable[[Sequence[NewMessage]], None]


class Completion(msgspec.Struct):
    """An attempt was made: record it and move its delivery. `attempt.id` is assigned by the store when it is 0."""

    attempt: Attempt
    state: State
    tries: int
    due: float | None  # Unix seconds, where `state` is PENDING
    # None: the endpoint sends payloads as they came. Otherwise what its transform made, kept while PENDING and dropped
    # after; empty where it failed, so that there is nothing to keep.
    shaped: bytes | None = None
    batch: int | None = None  # what is stored as its batch; None: as it was
    id: int = 0  # of its attempt; the store sets it when it is handed in


class Filter(msgspec.Struct, frozen=True):
    """What a list may be narrowed by; each None means no limit. Ids and times are exclusive bounds, times of a
    resolution of one millisecond. `ok` and `status_class` narrow attempts only."""

    limit: int = 50
    iterator: int | None = None  # go on after this id, in the list's order
    ascending: bool = False
    before: float | None = None
    after: float | None = None
    event_types: Collection[str] | None = None
    channel: str | None = None
    tag: str | None = None
    ok: bool | None = None  # attempts: succeeded or failed
    status_class: int | None = None  # attempts: 2 for 2xx
    endpoint: int | None = None


class Page(NamedTuple, Generic[T]):
    """One page of a list. A filtered list looks at a bounded number of rows, so a page may be short, even empty,
    with `done` False: go on with `iterator`, which is None only where `done` is True."""

    items: list[T]
    done: bool
    iterator: int | None


class QuotaCount(NamedTuple):
    """What a quota has counted for one of its keys."""

    scope: str  # which quota
    key: str
    state: bytes  # 64-bit integers, as `policies/periods.py` keeps them
    ends: float  # Unix seconds when it counts no more


class AccessStore(Protocol):
    """Who may call. `access` is the nearest part of it, in memory, as the last commit left it: it has changed before
    the caller of a write goes on."""

    access: StoredAccess

    async def put_consumer(self, consumer: Consumer) -> Consumer:
        """Insert (`key` 0: key, id, `created` are assigned) or replace all but `id` and `created`; sets `updated`.
        Raises ValueError where the name is taken, LookupError where the consumer is gone, StoreUnavailable."""
        ...

    async def delete_consumer(self, consumer: int) -> None:
        """And its keys. Nothing happens where it is gone."""
        ...

    async def consumer(self, identifier: int) -> Consumer | None: ...
    async def consumer_named(self, name: str) -> Consumer | None: ...
    async def consumer_with_key(self, key: int) -> Consumer | None:
        """By `Consumer.key`, the small integer."""
        ...

    async def list_consumers(self, narrow: Filter) -> Page[Consumer]:
        """Narrowed by `tag` at most."""
        ...

    async def put_keys(self, keys: Sequence[Key]) -> list[Key]:
        """Insert (`id` 0) or replace all but `consumer`, `digest`, `prefix` and `created`, all of them or none. Raises
        LookupError where a consumer is gone, StoreUnavailable."""
        ...

    async def delete_key(self, key: int) -> None: ...
    async def key(self, identifier: int) -> Key | None: ...
    async def list_keys(self, consumer: int, narrow: Filter) -> Page[Key]:
        """Those of one consumer, narrowed by `tag` at most."""
        ...

    async def tell_expired_keys(self, until: float, limit: int) -> list[Key]:
        """Keys that expired up to `until` and were not told of yet; they are not told of again unless `expires`
        changes."""
        ...

    async def put_plan(self, plan: Plan) -> Plan:
        """Insert or replace, by name; sets `updated`, and `created` where it is 0."""
        ...

    async def delete_plan(self, name: str) -> None: ...

    async def quota_counts(self) -> list[QuotaCount]:
        """All that still count."""
        ...

    async def put_quota_counts(self, counts: Sequence[QuotaCount]) -> None:
        """Replace these, and forget some whose period is over."""
        ...


class Store(
    AccessStore, AnalyticsStore, AuditStore, CaptureStore, ControlStore, DeliveringStore, FollowingStore,
    KeepingStore, ShapedStore, Protocol,
):  # fmt: skip
    directory: Directory
    shared: bool  # other nodes write too
    lanes: Lanes  # whose deliveries this node sends
    # Whoever makes messages sets it: a message is matched again where another node changed its app since it was handed
    # in. It gives the endpoints' keys.
    matcher: Callable[[NewMessage], Sequence[int]] | None

    # life
    async def open(self) -> None:
        """Lock, migrate, load the directory. Raises StoreUnavailable with the way out where another process
        holds it."""
        ...

    async def close(self) -> None:
        """Commit what was handed in, then release. Idempotent."""
        ...

    async def refresh(self) -> None:
        """Bring memory to what every node has committed up to now. Costs nothing where there is one node. Raises
        StoreUnavailable."""
        ...

    @property
    def writable(self) -> bool:
        """False while the last commit failed for want of disk or rights; it turns True again by itself."""
        ...

    @property
    def last_id(self) -> int:
        """The greatest id found or given out so far. Every message accepted from now on has a greater one, and
        commits come in the order of ids."""
        ...

    def on_writable(self, listener: Callable[[bool], None]) -> None:
        """`listener(writable)` hears of each change, on the loop: of False before the refusals of that commit."""
        ...

    # hot
    def accept(self, message: NewMessage, done: Done) -> None: ...

    def complete(self, completion: Completion, done: Callable[[bool], None]) -> None:
        """Record an attempt. `done(False)`: not on disk, hand it in again once `writable`."""
        ...

    def on_commit(self, listener: OnCommit) -> None: ...

    # deliveries
    async def next_due(self) -> dict[int, float]:
        """For every endpoint with pending deliveries whose lane is this node's, when the first is due. Costs per
        endpoint, not per delivery."""
        ...

    async def due(self, endpoint: int, until: float, limit: int, *, skip: Collection[int] = ()) -> list[Delivery]:
        """Pending deliveries of one endpoint due at or before `until`, earliest first; not those of the
        messages in `skip`, and none that go in order (`heads` has those)."""
        ...

    async def messages(self, ids: Sequence[int]) -> dict[int, Message]: ...

    async def resend(self, message: int, endpoint: int, due: float) -> Delivery | None:
        """Make a delivery pending again (or make one where there was none) because a person asked; its tries go on
        counting, and it leaves its order. None where the message is unknown or the endpoint is not (any more) one of
        its app."""
        ...

    # lists and objects
    async def message(self, app: int, message: int) -> Message | None: ...
    async def message_by_event_id(self, app: int, event_id: str) -> Message | None: ...
    async def list_messages(self, app: int, narrow: Filter) -> Page[Message]: ...
    async def channel_messages(self, app: int, channel: str, after: int, limit: int) -> list[Message]:
        """Messages of one channel with a greater id, ascending: what a resuming subscriber missed. Fewer than
        `limit`: there are no more."""
        ...

    async def deliveries_of(self, message: int) -> list[Delivery]: ...
    async def deliveries_to(self, endpoint: int, messages: Sequence[int]) -> list[Delivery]:
        """The deliveries of these messages to one endpoint, in no order; fewer where there are none."""
        ...

    async def attempt(self, attempt: int) -> Attempt | None: ...
    async def attempts_of_message(self, message: int, narrow: Filter) -> Page[Attempt]: ...
    async def attempts_of_endpoint(self, endpoint: int, narrow: Filter) -> Page[Attempt]: ...

    async def put_app(self, app: App) -> App:
        """Insert (`key` 0: key, id, `created` are assigned) or replace all but `id` and `created`; sets `updated`.
        Raises ValueError where the uid is taken, LookupError where the app is gone, StoreUnavailable."""
        ...

    async def delete_app(self, app: int) -> None:
        """And its endpoints. Its messages and attempts stay until they expire. Nothing happens where it is gone."""
        ...

    async def put_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """As `put_app`. LookupError also where the app is gone."""
        ...

    async def delete_endpoint(self, endpoint: int) -> None:
        """Its waiting deliveries are out of reach at once and become CANCELLED in small steps."""
        ...
