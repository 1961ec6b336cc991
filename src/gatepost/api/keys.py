"""Keys of consumers. A key itself is shown once, by the answer that makes it; what is kept is its SHA-256."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import Response
from pydantic import AwareDatetime, Field
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import pagination
from gatepost.api.callers import Body, ByTag, Callers, CallersCtx, ConsumerName, KeyId, Metadata, Tags, Text
from gatepost.api.consumers import cursor
from gatepost.api.encoding import answer, no_content
from gatepost.api.fields import IdempotencyKey, Iterator, Limit, moment
from gatepost.api.problems import INVALID, Refused, fault, router
from gatepost.model import Consumer, Key
from gatepost.policies.api_key import new_key

PREFIX = 8  # characters of a key that stay known
GRACE = 86_400  # seconds that a replaced key goes on
LONGEST_GRACE = 31_536_000

Moment = Annotated[
    AwareDatetime | None,
    Field(strict=False, description="When it ends, with an offset; null: never.", examples=["2027-01-01T00:00:00Z"]),
]


class KeyIn(Body):
    name: Text = ""
    tags: Tags = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)
    expires_at: Moment = None
    disabled: bool = False


class KeyPatch(KeyIn):
    """What is absent stays as it is."""


class KeyRotateIn(Body):
    old_expires_in: Annotated[
        int, Field(ge=0, le=LONGEST_GRACE, description="Seconds that the old key goes on beside the new one.")
    ] = GRACE


class KeyOut(TypedDict):
    id: str
    consumer: str
    prefix: str
    name: str
    tags: list[str]
    metadata: dict[str, str]
    expires_at: str | None
    expired: bool
    disabled: bool
    created_at: str
    updated_at: str


class KeyMadeOut(KeyOut):
    key: str


class ListResponse_KeyOut_(TypedDict):
    data: list[KeyOut]
    done: bool
    iterator: str
    prevIterator: str | None


noun = router("/api/v1/consumer/{consumer_id}/key", "Key")


@noun.get("", operation_id="list_keys", response_model=ListResponse_KeyOut_)
async def list_keys(
    context: CallersCtx,
    name: ConsumerName,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    tag: ByTag = None,
) -> Response:
    """List the keys of a consumer, the newest first. Those that stand in the file are not among them."""
    consumer = await context.consumer(name)
    at = cursor(iterator, "key")
    wanted = msgspec.structs.replace(pagination.narrow(at, limit), tag=tag)
    found = pagination.of_store(await context.store.list_keys(consumer.key, wanted), at)
    now = context.clock.now()
    return await pagination.page(found, at, "key", _id, lambda key: document(consumer, key, now))


@noun.post("", operation_id="create_key", status_code=201, response_model=KeyMadeOut)
async def create(
    context: CallersCtx, name: ConsumerName, wanted: KeyIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a key. It is shown by this answer only."""
    _check(context, wanted)
    consumer = await _stored(context, name)
    secret, digest = new_key()
    key = Key(
        0, consumer.key, bytes.fromhex(digest), secret[:PREFIX], wanted.name, tuple(wanted.tags), wanted.metadata,
        _seconds(wanted.expires_at), wanted.disabled,
    )  # fmt: skip
    (made,) = await context.put_keys([key])
    out = document(consumer, made, context.clock.now())
    context.tell("key.created", out["id"], consumer.name, {"name": made.name})
    return answer({**out, "key": secret}, 201)


@noun.get("/{key_id}", operation_id="get_key", response_model=KeyOut)
async def get(context: CallersCtx, name: ConsumerName, identifier: KeyId) -> Response:
    """Get a key's description."""
    consumer = await context.consumer(name)
    return answer(document(consumer, await context.key(consumer, identifier), context.clock.now()))


@noun.patch("/{key_id}", operation_id="patch_key", response_model=KeyOut)
async def patch(context: CallersCtx, name: ConsumerName, identifier: KeyId, wanted: KeyPatch) -> Response:
    """Change some of a key's fields. It takes effect at once, on connections that are kept as well."""
    consumer = await context.consumer(name)
    async with context.changing(identifier):
        key = await context.key(consumer, identifier)
        changes: dict[str, object] = {field: getattr(wanted, field) for field in wanted.model_fields_set}
        if "tags" in changes:
            changes["tags"] = tuple(wanted.tags)
        if "expires_at" in changes:
            _check(context, wanted)
            del changes["expires_at"]
            changes["expires"] = _seconds(wanted.expires_at)
        (made,) = await context.put_keys([msgspec.structs.replace(key, **changes)])
        if made.disabled and not key.disabled:
            context.tell("key.revoked", identifier, consumer.name, {"name": made.name})
        return answer(document(consumer, made, context.clock.now()))


@noun.delete("/{key_id}", operation_id="delete_key", status_code=204)
async def delete(context: CallersCtx, name: ConsumerName, identifier: KeyId) -> Response:
    """Revoke a key: it is unknown at once."""
    consumer = await context.consumer(name)
    async with context.changing(identifier):
        key = await context.key(consumer, identifier)
        await context.store.delete_key(key.id)
        context.tell("key.revoked", identifier, consumer.name, {"name": key.name})
        return no_content()


@noun.post("/{key_id}/rotate", operation_id="rotate_key", status_code=201, response_model=KeyMadeOut)
async def rotate(
    context: CallersCtx,
    name: ConsumerName,
    identifier: KeyId,
    wanted: KeyRotateIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Replace a key by a new one, shown by this answer only. The old one goes on for a while, unless it ends sooner."""
    consumer = await context.consumer(name)
    async with context.changing(identifier):
        old = await context.key(consumer, identifier)
        grace = GRACE if wanted is None else wanted.old_expires_in
        ends = float(int(context.clock.now()) + grace)
        secret, digest = new_key()
        new = msgspec.structs.replace(
            old, id=0, digest=bytes.fromhex(digest), prefix=secret[:PREFIX], disabled=False, created=0.0
        )
        old = msgspec.structs.replace(old, expires=ends if old.expires is None else min(ends, old.expires))
        _, made = await context.put_keys([old, new])
        out = document(consumer, made, context.clock.now())
        context.tell("key.rotated", identifier, consumer.name, {"name": made.name, "new_key_id": out["id"]})
        return answer({**out, "key": secret}, 201)


def document(consumer: Consumer, key: Key, now: float) -> KeyOut:
    return KeyOut(
        id=ids.encode("key", key.id),
        consumer=consumer.name,
        prefix=key.prefix,
        name=key.name,
        tags=list(key.tags),
        metadata=key.metadata,
        expires_at=None if key.expires is None else moment(key.expires),
        expired=key.expires is not None and key.expires <= now,
        disabled=key.disabled,
        created_at=moment(key.created),
        updated_at=moment(key.updated),
    )


async def _stored(context: Callers, name: str) -> Consumer:
    """The consumer, with a place in the store: one of the file gets it with its first key."""
    consumer = await context.consumer(name)
    if consumer.key:
        return consumer
    async with context.changing(f"declared {consumer.name}"):
        again = await context.consumer(consumer.name)
        return again if again.key else await context.put(again)


def _check(context: Callers, wanted: KeyIn) -> None:
    expires = _seconds(wanted.expires_at)
    if expires is not None and expires <= context.clock.now():
        raise Refused(INVALID, errors=[fault("/expires_at", "must be in the future; delete a key that is to end now")])


def _seconds(moment: datetime | None) -> float | None:
    """Whole ones, as they are kept in memory."""
    return None if moment is None else float(int(moment.astimezone(UTC).timestamp()))


def _id(key: Key) -> int:
    return key.id
