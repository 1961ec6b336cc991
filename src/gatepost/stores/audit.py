"""The part of the store contract about who changed what.

The API says in a context variable on whose behalf it calls the store (`CHANGE`); the first write of that request then
takes the record along, in its own transaction: there is no change without its record, and no record of a change that
was refused. A variable of the context, and not an argument, because every call that writes would have to carry it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from gatepost import ids
from gatepost.model import App, Consumer, Endpoint, EventType, Plan

if TYPE_CHECKING:  # which has this part in it
    from gatepost.stores.base import Filter, Page


class AuditRecord(NamedTuple):
    """One change. When it was made stands in its id."""

    id: int
    who: str  # admin, or portal: and the beginning of its token's SHA-256
    method: str
    path: str
    object: str  # the id of what was written; empty where it has none
    fields: tuple[str, ...]  # names of the fields that the request gave: never a value
    request: str  # the request's id
    client: str  # its address


class Change:
    """A change that is under way. `taken`: a write has its record."""

    __slots__ = ("client", "fields", "method", "path", "request", "taken", "who")

    def __init__(self, who: str, method: str, path: str, fields: tuple[str, ...], request: str, client: str) -> None:
        self.who = who
        self.method = method
        self.path = path
        self.fields = fields
        self.request = request
        self.client = client
        self.taken = False

    def record(self, identifier: int, result: object) -> AuditRecord:
        """`result` is what the write gave."""
        return AuditRecord(
            identifier, self.who, self.method, self.path, _named(result), self.fields, self.request, self.client
        )


CHANGE: Final[ContextVar[Change | None]] = ContextVar("gatepost_change", default=None)


class AuditStore(Protocol):
    async def put_audit(self, change: Change) -> None:
        """Of a change that wrote nothing else. Raises StoreUnavailable."""
        ...

    async def list_audit(self, narrow: Filter) -> Page[AuditRecord]:
        """Narrowed by time at most."""
        ...

    async def drop_audit(self, before: int, limit: int) -> int:
        """Drop some with smaller ids, the oldest first; returns how many."""
        ...


def row_of(record: AuditRecord) -> tuple[Any, ...]:
    return (*record[:5], msgspec.json.encode(record.fields).decode(), *record[6:])


def audit_of(row: Any) -> AuditRecord:
    identifier, who, method, path, thing, fields, request, client = row
    return AuditRecord(identifier, who, method, path, thing, _texts(fields), request, client)


def settled(change: Change, done: Callable[..., None]) -> Callable[..., None]:
    """`done` of the write that took the record: where it failed, the next one may take it."""
    change.taken = True

    def and_free(result: object, error: BaseException | None) -> None:
        if error is not None:
            change.taken = False
        done(result, error)

    return and_free


_texts: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_PREFIXES: Final[tuple[tuple[type[App | Endpoint | Consumer], str], ...]] = (
    (App, "app"), (Endpoint, "ep"), (Consumer, "csm"),
)  # fmt: skip


def _named(result: object) -> str:
    if isinstance(result, tuple) and result:  # PostgreSQL's come with what else they saw
        result = result[0]
    if isinstance(result, (Plan, EventType)):
        return result.name
    for kind, prefix in _PREFIXES:
        if isinstance(result, kind):
            return ids.encode(prefix, result.id)
    return ""
