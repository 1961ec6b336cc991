"""What holds for every policy that ships."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.exchanges import make_exchange

from gatepost.config.policies import PolicyUse
from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.cache import CachePolicy
from gatepost.config.policies.mock import MockPolicy
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.config.policies.validate import Body, ValidatePolicy
from gatepost.config.policies.validate_response import ResponseRule, ValidateResponsePolicy
from gatepost.errors import PROBLEM_PREFIX
from gatepost.exchange import Exchange, Phase, Policy, Response
from gatepost.policies import POLICIES, build_policy
from gatepost.policies.base import PolicyContext
from gatepost.policies.states import States
from gatepost.stores.access import Access

# One use of each policy, and what makes it refuse. A new policy adds its line.
USES: dict[str, tuple[Any, Callable[[Policy], Response | None]]] = {}


def refuses(name: str, config: Any) -> Callable[[Callable[[Policy], Response | None]], None]:
    def add(provoke: Callable[[Policy], Response | None]) -> None:
        USES[name] = (config, provoke)

    return add


@refuses("api_key", ApiKeyPolicy())
def _(policy: Policy) -> Response | None:
    return policy.on_request(an_exchange(policy))


@refuses("rate_limit", RateLimitPolicy(limit=1, window=60.0))
def _(policy: Policy) -> Response | None:
    answers = [step(x) for x in (an_exchange(policy), an_exchange(policy)) for step in x.route.on_request]
    return answers[-1]


@refuses("validate", ValidatePolicy(body=Body(schema='{"type": "object", "required": ["id"]}')))
def _(policy: Policy) -> Response | None:
    x = make_exchange("POST", "/orders", [(b"content-type", b"application/json")], b"{}", policies=(policy,))[0]
    answer = policy.on_request(x)
    assert answer is None or isinstance(answer, Response)
    return answer


@refuses("validate_response", ValidateResponsePolicy(responses={"200": ResponseRule()}))
def _(policy: Policy) -> Response | None:
    x, client = make_exchange("GET", "/orders", policies=(policy,))
    policy.on_request(x)
    policy.stage(x, client).respond(x, 201, [], b"")
    return Response(client.status, client.fields, client.body, x.outcome)


@refuses("mock", MockPolicy(json={"id": 1}))
def _(policy: Policy) -> Response | None:
    x = make_exchange("GET", "/orders", [(b"accept", b"text/html")], policies=(policy,))[0]
    answer = policy.on_request(x)
    assert answer is None or isinstance(answer, Response)
    return answer


@refuses("cache", CachePolicy())
def _(policy: Policy) -> Response | None:
    x = make_exchange("GET", "/", [(b"cache-control", b"only-if-cached")], policies=(policy,))[0]
    answer = policy.on_request(x)
    assert answer is None or isinstance(answer, Response)
    return answer


def an_exchange(policy: Policy) -> Exchange:
    return make_exchange("POST", "/orders", [(b"accept", b"*/*")], policies=(policy,))[0]


def built(name: str) -> Policy:
    use = PolicyUse(**{name: USES[name][0]})
    return build_policy(use, PolicyContext("route", Access(), States()))


each = pytest.mark.parametrize("name", sorted(POLICIES))


def test_the_registry_and_the_schema_name_the_same_policies() -> None:
    assert list(POLICIES) == [field.name for field in msgspec.structs.fields(PolicyUse)]
    assert set(USES) == set(POLICIES)


@each
def test_it_has_a_name_and_a_phase(name: str) -> None:
    policy = built(name)
    assert policy.name == name
    assert isinstance(policy.phase, Phase)


@each
def test_it_is_documented(name: str) -> None:
    chapters = (Path(__file__).parents[2] / "docs" / "policies.md").read_text().split("\n## ")
    (chapter,) = [chapter for chapter in chapters if chapter.startswith(f"`{name}`")]
    config = USES[name][0]
    for field in msgspec.structs.fields(config):
        assert f"`{field.name}`" in chapter, f"the setting {field.name}"
    answer = USES[name][1](built(name))
    assert answer is not None
    assert str(answer.status) in chapter
    assert json.loads(answer.body)["type"].removeprefix(PROBLEM_PREFIX) in chapter


@each
def test_a_refusal_is_a_problem_document_with_the_request_id(name: str) -> None:
    answer = USES[name][1](built(name))
    assert answer is not None
    assert 400 <= answer.status < 600
    assert (b"content-type", b"application/problem+json") in answer.fields
    document = json.loads(answer.body)
    assert document["type"].startswith(PROBLEM_PREFIX)
    assert document["type"] == PROBLEM_PREFIX + answer.outcome
    assert document["status"] == answer.status
    assert document["request_id"] == "req-1"
    assert document["title"]


@each
def test_it_answers_from_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_io(*_: Any, **__: Any) -> Any:
        raise AssertionError("a policy did I/O")

    provoke, policy = USES[name][1], built(name)
    monkeypatch.setattr(socket, "socket", no_io)
    monkeypatch.setattr("builtins.open", no_io)
    monkeypatch.setattr("os.open", no_io)
    assert provoke(policy) is not None


@each
def test_it_changes_no_list_that_others_share(name: str) -> None:
    policy = built(name)
    x = an_exchange(policy)
    shared: list[tuple[bytes, bytes]] = []
    x.response_fields = shared
    for step in x.route.on_response:
        step(x)
    assert shared == []


@each
def test_one_instance_serves_many_exchanges_at_once(name: str) -> None:
    """What belongs to one exchange is in the exchange: a policy's own attributes stay as they were built."""
    policy = built(name)
    before = {key: repr(value) for key, value in vars(policy).items()}
    USES[name][1](policy)
    assert {key: repr(value) for key, value in vars(policy).items()} == before
