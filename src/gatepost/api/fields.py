"""The types that fields of requests have, and how moments are written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeAlias

from fastapi import Header, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from gatepost import ids

NAME: Final = r"^[a-zA-Z0-9\-_.]+$"
# Svix's channels are names; ours may be paths too (`events/rules.py` says why some characters stay out).
CHANNEL: Final = r"^[a-zA-Z0-9\-_./~:@+=,]+$"


class In(BaseModel):
    """A request's body. Types are taken as they come ("5" is no number); unknown members are ignored, as Svix does."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _no_id(uid: str) -> str:
    prefix = uid.partition("_")[0]
    if prefix in ("app", "ep", "msg", "atmpt") and ids.decode(prefix, uid) is not None:
        raise ValueError("a uid must not look like an id that Gatepost makes")
    return uid


Uid: TypeAlias = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=NAME),
    AfterValidator(_no_id),
    Field(description="A name of your own, usable wherever the id is.", examples=["unique-identifier"]),
]
EventType: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=NAME), Field(examples=["user.signup"])
]
EventTypeOrPrefix: TypeAlias = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[a-zA-Z0-9\-_.]+$|^([a-zA-Z0-9\-_]+\.)+\*$"),
    Field(examples=["user.signup", "user.*"]),
]
Channel: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=CHANNEL), Field(examples=["/orders/12345"])
]
Rate: TypeAlias = Annotated[int, Field(ge=1, le=65_535, description="Messages a second.")]
Metadata: TypeAlias = dict[str, str]

AppName: TypeAlias = Annotated[str, Path(alias="app_id", description="The app's id or uid.")]
EndpointName: TypeAlias = Annotated[str, Path(alias="endpoint_id", description="The endpoint's id or uid.")]
MessageName: TypeAlias = Annotated[str, Path(alias="msg_id", description="The message's id or eventId.")]
AttemptName: TypeAlias = Annotated[str, Path(alias="attempt_id", description="The attempt's id.")]

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        min_length=1,
        max_length=256,
        description="A repeated request with the same key gets the first one's answer.",
    ),
]

Limit: TypeAlias = Annotated[int, Query(ge=1, le=250, description="The most items a page may have.")]
Iterator: TypeAlias = Annotated[
    str | None, Query(description="Go on where another page ended: its `iterator`, or `prevIterator` to go back.")
]
Order: TypeAlias = Annotated[Literal["ascending", "descending"], Query(description="By the time of creation.")]
Before: TypeAlias = Annotated[datetime | None, Query(description="Only what is older than this moment.")]
After: TypeAlias = Annotated[datetime | None, Query(description="Only what is newer than this moment.")]
WithContent: TypeAlias = Annotated[bool, Query(description="Whether contents (payloads, responses) are included.")]
ByChannel: TypeAlias = Annotated[Channel | None, Query(description="Only messages of this channel.")]
ByTag: TypeAlias = Annotated[Channel | None, Query(description="Only messages with this tag.")]
ByType: TypeAlias = Annotated[
    list[str] | None, Query(description="Only these event types; repeated, or separated by commas.")
]


def split_types(given: list[str] | None) -> frozenset[str] | None:
    """Svix's SDKs join them with commas; by hand one repeats the parameter."""
    if given is None:
        return None
    return frozenset(name for text in given for name in text.split(",") if name)


def seconds_of(moment: datetime | None) -> float | None:
    """Unix seconds. A moment without an offset is taken as UTC."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def moment(seconds: float) -> str:
    """RFC 3339 in milliseconds: `2023-11-14T22:13:20.000Z`."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def some(names: Iterable[str] | None) -> frozenset[str] | None:
    """A filter of an endpoint; an empty one lets everything through, like none."""
    return frozenset(names) if names else None
