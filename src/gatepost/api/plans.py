"""Plans: what their consumers may do, and how much."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Response
from pydantic import AfterValidator, Field, StringConstraints
from typing_extensions import TypedDict

from gatepost.api import pagination
from gatepost.api.callers import Body, Callers, CallersCtx, Metadata, Name, Names, PlanNamed, by_name, page_by_name
from gatepost.api.encoding import answer, no_content
from gatepost.api.fields import IdempotencyKey, Iterator, Limit, moment
from gatepost.api.problems import DECLARED, TAKEN, Refused, not_found, router
from gatepost.config import units
from gatepost.model import Allotment, Plan, Rate
from gatepost.stores.access import period_of


def _window(text: str) -> str:
    if units.duration(text) == 0:
        raise ValueError("must be longer than 0")
    return text


Count = Annotated[int, Field(ge=1, le=2**53)]
Window = Annotated[str, AfterValidator(_window), Field(description="A duration: `1s`, `1m`, `1h`.", examples=["1m"])]
Period = Annotated[
    str, AfterValidator(units.period), Field(description="`day`, `month` or a duration.", examples=["month"])
]
Methods = Annotated[list[Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,32}$")]], Field(max_length=50)]


class RateIn(Body):
    limit: Count
    window: Window


class QuotaIn(Body):
    limit: Count
    period: Period


class PlanPatch(Body):
    """What is absent stays as it is."""

    routes: Annotated[Names | None, Field(description="Routes that it opens; null: all.")] = None
    methods: Annotated[Methods | None, Field(description="Methods that it opens there; null: all.")] = None
    rate_limits: Annotated[
        dict[Name, RateIn], Field(max_length=50, description="By the `name` of the policy that asks for them.")
    ] = Field(default_factory=dict)
    quotas: Annotated[
        dict[Name, QuotaIn], Field(max_length=50, description="By the `name` of the policy that asks for them.")
    ] = Field(default_factory=dict)
    concurrency: Count | None = None
    metadata: Metadata = Field(default_factory=dict)


class PlanIn(PlanPatch):
    name: Name


class RateOut(TypedDict):
    limit: int
    window: str


class QuotaOut(TypedDict):
    limit: int
    period: str


class PlanOut(TypedDict):
    name: str
    routes: list[str] | None
    methods: list[str] | None
    rate_limits: dict[str, RateOut]
    quotas: dict[str, QuotaOut]
    concurrency: int | None
    metadata: dict[str, str]
    declared: bool
    created_at: str | None
    updated_at: str | None


class ListResponse_PlanOut_(TypedDict):
    data: list[PlanOut]
    done: bool
    iterator: str
    prevIterator: str | None


noun = router("/api/v1/plan", "Plan")


@noun.get("", operation_id="list_plans", response_model=ListResponse_PlanOut_)
async def list_plans(context: CallersCtx, limit: Limit = pagination.LIMIT, iterator: Iterator = None) -> Response:
    """List plans by name, those of the file among them."""
    names = sorted({*context.access.plans, *context.store.access.plans})
    page, done = by_name(names, iterator, limit)
    return answer(page_by_name([_document(context, _found(context, name)) for name in page], page, iterator, done))


@noun.post("", operation_id="create_plan", status_code=201, response_model=PlanOut)
async def create(context: CallersCtx, wanted: PlanIn, idempotency_key: IdempotencyKey = None) -> Response:
    """Create a plan."""
    async with context.changing(f"plan {wanted.name}"):
        if context.access.plan(wanted.name) is not None:
            raise Refused(TAKEN, f"There is a plan {wanted.name!r} already.")
        made = await context.store.put_plan(_changed(Plan(wanted.name), wanted))
        return answer(_document(context, made), 201)


@noun.get("/{plan}", operation_id="get_plan", response_model=PlanOut)
async def get(context: CallersCtx, name: PlanNamed) -> Response:
    """Get a plan, of the store or of the file."""
    return answer(_document(context, _found(context, name)))


@noun.patch("/{plan}", operation_id="patch_plan", response_model=PlanOut)
async def patch(context: CallersCtx, name: PlanNamed, wanted: PlanPatch) -> Response:
    """Change some of a plan's fields. It takes effect at once for all its consumers."""
    async with context.changing(f"plan {name}"):
        plan = _changeable(context, name)
        return answer(_document(context, await context.store.put_plan(_changed(plan, wanted))))


@noun.delete("/{plan}", operation_id="delete_plan", status_code=204)
async def delete(context: CallersCtx, name: PlanNamed) -> Response:
    """Delete a plan. For consumers that have it, it opens nothing any more."""
    async with context.changing(f"plan {name}"):
        _changeable(context, name)
        await context.store.delete_plan(name)
        return no_content()


def _found(context: Callers, name: str) -> Plan:
    plan = context.access.plan(name)
    if plan is None:
        raise not_found("plan", name)
    return plan


def _changeable(context: Callers, name: str) -> Plan:
    plan = _found(context, name)
    if name in context.access.plans:
        raise Refused(DECLARED, f"The plan {name!r} is declared there.")
    return plan


def _changed(plan: Plan, wanted: PlanPatch) -> Plan:
    """With the fields that the request names."""
    given = wanted.model_fields_set
    changes: dict[str, object] = {field: getattr(wanted, field) for field in given & {"concurrency", "metadata"}}
    for field in given & {"routes", "methods"}:
        names = getattr(wanted, field)
        changes[field] = None if names is None else frozenset(names)
    if "rate_limits" in given:
        changes["rates"] = {
            name: Rate(rate.limit, units.duration(rate.window)) for name, rate in wanted.rate_limits.items()
        }
    if "quotas" in given:
        changes["quotas"] = {
            name: Allotment(quota.limit, period_of(quota.period)) for name, quota in wanted.quotas.items()
        }
    return msgspec.structs.replace(plan, **changes)


def _document(context: Callers, plan: Plan) -> PlanOut:
    return PlanOut(
        name=plan.name,
        routes=None if plan.routes is None else sorted(plan.routes),
        methods=None if plan.methods is None else sorted(plan.methods),
        rate_limits={name: RateOut(limit=rate.limit, window=f"{rate.window:g}s") for name, rate in plan.rates.items()},
        quotas={
            name: QuotaOut(
                limit=quota.limit, period=quota.period if isinstance(quota.period, str) else f"{quota.period:g}s"
            )
            for name, quota in plan.quotas.items()
        },
        concurrency=plan.concurrency,
        metadata=plan.metadata,
        declared=plan.name in context.access.plans,
        created_at=moment(plan.created) if plan.created else None,
        updated_at=moment(plan.updated) if plan.updated else None,
    )
