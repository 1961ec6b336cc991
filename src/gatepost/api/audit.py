"""The audit: who changed what by the API, and when."""

from __future__ import annotations

import msgspec
from fastapi import Response
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import pagination
from gatepost.api.consumers import cursor
from gatepost.api.context import Ctx
from gatepost.api.fields import After, Before, Iterator, Limit, moment, seconds_of
from gatepost.api.problems import router
from gatepost.stores.audit import AuditRecord

PREFIX = "aud"


class AuditOut(TypedDict):
    id: str
    at: str
    who: str
    method: str
    path: str
    object: str
    fields: list[str]
    request_id: str
    client: str


class ListResponse_AuditOut_(TypedDict):
    data: list[AuditOut]
    done: bool
    iterator: str
    prevIterator: str | None


def document(record: AuditRecord) -> AuditOut:
    return AuditOut(
        id=ids.encode(PREFIX, record.id),
        at=moment(ids.seconds_of(record.id)),
        who=record.who,
        method=record.method,
        path=record.path,
        object=record.object,
        fields=list(record.fields),
        request_id=record.request,
        client=record.client,
    )


noun = router("/api/v1/audit", "Audit")


@noun.get("", operation_id="list_audit", response_model=ListResponse_AuditOut_)
async def list_audit(
    context: Ctx,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    before: Before = None,
    after: After = None,
) -> Response:
    """List changes that were made by this API, the newest first. Fields are named, their values are not kept."""
    at = cursor(iterator, PREFIX)
    wanted = msgspec.structs.replace(pagination.narrow(at, limit), before=seconds_of(before), after=seconds_of(after))
    found = pagination.of_store(await context.store.list_audit(wanted), at)
    return await pagination.page(found, at, PREFIX, _id, document)


def _id(record: AuditRecord) -> int:
    return record.id
