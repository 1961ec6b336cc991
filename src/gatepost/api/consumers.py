"""Consumers: who calls the gateway."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Query, Response
from pydantic import Field
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import pagination
from gatepost.api.callers import (
    Body,
    ByTag,
    Callers,
    CallersCtx,
    ConsumerName,
    Metadata,
    Name,
    Names,
    Tags,
    by_name,
    page_by_name,
)
from gatepost.api.encoding import answer, no_content
from gatepost.api.fields import IdempotencyKey, Iterator, Limit, moment
from gatepost.api.problems import INVALID, TAKEN, ErrorOut, Refused, router
from gatepost.model import Consumer


class ConsumerIn(Body):
    name: Name
    tags: Tags = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)
    plans: Names = Field(default_factory=list)
    routes: Annotated[Names | None, Field(description="Routes that it may use; null: all that its plans open.")] = None
    disabled: bool = False


class ConsumerPatch(Body):
    """What is absent stays as it is."""

    name: Name = ""
    tags: Tags = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)
    plans: Names = Field(default_factory=list)
    routes: Names | None = None
    disabled: bool = False


class ConsumerOut(TypedDict):
    id: str | None  # null: declared in the file, and without a key in the store
    name: str
    tags: list[str]
    metadata: dict[str, str]
    plans: list[str]
    routes: list[str] | None
    disabled: bool
    declared: bool
    created_at: str | None
    updated_at: str | None


class ListResponse_ConsumerOut_(TypedDict):
    data: list[ConsumerOut]
    done: bool
    iterator: str
    prevIterator: str | None


def document(consumer: Consumer) -> ConsumerOut:
    return ConsumerOut(
        id=ids.encode("csm", consumer.id) if consumer.id else None,
        name=consumer.name,
        tags=list(consumer.tags),
        metadata=consumer.metadata,
        plans=list(consumer.plans),
        routes=None if consumer.routes is None else sorted(consumer.routes),
        disabled=consumer.disabled,
        declared=consumer.declared,
        created_at=moment(consumer.created) if consumer.created else None,
        updated_at=moment(consumer.updated) if consumer.updated else None,
    )


noun = router("/api/v1/consumer", "Consumer")


@noun.get("", operation_id="list_consumers", response_model=ListResponse_ConsumerOut_)
async def list_consumers(
    context: CallersCtx,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    tag: ByTag = None,
    declared: Annotated[bool, Query(description="Those of the file, by name, instead of those of the store.")] = False,
) -> Response:
    """List consumers, the newest first."""
    if declared:
        return answer(await _declared(context, limit, iterator, tag))
    at = _cursor(iterator)
    wanted = msgspec.structs.replace(pagination.narrow(at, limit), tag=tag)
    found = pagination.of_store(await context.store.list_consumers(wanted), at)
    ours = context.access.declared
    reached = found.reached if found.reached is not None or not found.items else found.items[-1].id
    shown = [consumer for consumer in found.items if consumer.name not in ours]
    return await pagination.page(pagination.Cut(shown, found.done, reached), at, "csm", _id, document)


@noun.post("", operation_id="create_consumer", status_code=201, response_model=ConsumerOut)
async def create(context: CallersCtx, wanted: ConsumerIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Create a consumer. It calls with the keys that are made for it."""
    if wanted.name in context.access.declared:
        raise Refused(TAKEN, f"A consumer of gatepost.yaml has the name {wanted.name!r}.")
    context.check_plans(tuple(wanted.plans))
    made = await context.put(_changed(Consumer(0, 0, wanted.name), wanted))
    return answer(document(made), 201)


@noun.get("/{consumer_id}", operation_id="get_consumer", response_model=ConsumerOut)
async def get(context: CallersCtx, name: ConsumerName) -> Response:
    """Get a consumer, of the store or of the file."""
    return answer(document(await context.consumer(name)))


@noun.patch("/{consumer_id}", operation_id="patch_consumer", response_model=ConsumerOut)
async def patch(context: CallersCtx, name: ConsumerName, wanted: ConsumerPatch) -> Response:
    """Change some of a consumer's fields. It takes effect at once, on connections that are kept as well."""
    consumer = await context.consumer(name)
    async with context.changing(f"consumer {consumer.key}"):
        consumer = await context.consumer(name)
        context.changeable(consumer.name)
        if "plans" in wanted.model_fields_set:
            context.check_plans(tuple(wanted.plans))
        if wanted.name in context.access.declared:
            raise Refused(TAKEN, f"A consumer of gatepost.yaml has the name {wanted.name!r}.")
        return answer(document(await context.put(_changed(consumer, wanted))))


@noun.delete("/{consumer_id}", operation_id="delete_consumer", status_code=204)
async def delete(context: CallersCtx, name: ConsumerName) -> Response:
    """Delete a consumer and its keys, which are unknown at once."""
    consumer = await context.consumer(name)
    async with context.changing(f"consumer {consumer.key}"):
        consumer = await context.consumer(name)
        context.changeable(consumer.name)
        await context.store.delete_consumer(consumer.key)
        context.tell("key.revoked", "", consumer.name, {"all": True})
        return no_content()


async def _declared(context: Callers, limit: int, after: str | None, tag: str | None) -> dict[str, object]:
    names = [name for name in context.declared_consumers() if tag is None or tag in context.access.declared[name].tags]
    page, done = by_name(names, after, limit)
    data = [document(await context.declared_consumer(name)) for name in page]
    return page_by_name(data, page, after, done)


def _changed(consumer: Consumer, wanted: ConsumerIn | ConsumerPatch) -> Consumer:
    """With the fields that the request names."""
    changes: dict[str, object] = {field: getattr(wanted, field) for field in wanted.model_fields_set}
    for field in ("tags", "plans"):
        if field in changes:
            changes[field] = tuple(getattr(wanted, field))
    if "routes" in changes:
        changes["routes"] = None if wanted.routes is None else frozenset(wanted.routes)
    return msgspec.structs.replace(consumer, declared=False, **changes)


def _cursor(iterator: str | None) -> pagination.Cursor:
    return cursor(iterator, "csm")


def cursor(iterator: str | None, prefix: str) -> pagination.Cursor:
    """Raises 422 where it is not an iterator of such ids."""
    back = bool(iterator) and str(iterator).startswith("-")
    if not iterator:
        return pagination.Cursor()
    identifier = ids.decode(prefix, iterator[1:] if back else iterator)
    if identifier is None:
        detail = f"must be what another page gave as iterator or prevIterator ({prefix}_…)"
        raise Refused(INVALID, errors=[ErrorOut(detail=detail, parameter="iterator")])
    return pagination.Cursor(identifier, back)


def _id(consumer: Consumer) -> int:
    return consumer.id
