"""What holds for every policy that ships."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.exchanges import StillLoop, make_exchange

from gatepost import log
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.anonymous import AnonymousPolicy
from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.basic import BasicPolicy
from gatepost.config.policies.body_size import BodySizePolicy
from gatepost.config.policies.cache import CachePolicy
from gatepost.config.policies.combined import AllOfPolicy, AlternativeUse, AnyOfPolicy, CredentialUse
from gatepost.config.policies.compress import CompressPolicy
from gatepost.config.policies.concurrency import ConcurrencyPolicy
from gatepost.config.policies.cors import CorsPolicy
from gatepost.config.policies.headers import FieldEdits, HeadersPolicy
from gatepost.config.policies.http_signature import HttpSignatureKey, HttpSignaturePolicy
from gatepost.config.policies.ip import IpPolicy
from gatepost.config.policies.jwt import JwtPolicy
from gatepost.config.policies.method import MethodPolicy
from gatepost.config.policies.mock import MockPolicy
from gatepost.config.policies.mtls import MtlsPolicy
from gatepost.config.policies.oauth2_introspection import Oauth2IntrospectionPolicy
from gatepost.config.policies.python import PythonPolicy
from gatepost.config.policies.query import QueryPolicy
from gatepost.config.policies.queue import QueuePolicy
from gatepost.config.policies.quota import QuotaPolicy
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.config.policies.redirect import RedirectPolicy
from gatepost.config.policies.request_id import RequestIdPolicy
from gatepost.config.policies.rewrite import RewritePolicy
from gatepost.config.policies.security_headers import SecurityHeadersPolicy
from gatepost.config.policies.transform import TransformPolicy
from gatepost.config.policies.validate import Body, ValidatePolicy
from gatepost.config.policies.validate_response import ResponseRule, ValidateResponsePolicy
from gatepost.config.policies.version import Version, VersionPolicy
from gatepost.config.policies.webhook_signature import WebhookSignaturePolicy
from gatepost.config.secrets import Secret
from gatepost.config.signatures import SignedBody
from gatepost.errors import PROBLEM_PREFIX
from gatepost.exchange import Exchange, Phase, Policy, Response
from gatepost.http1.messages import FieldList
from gatepost.policies import POLICIES, build_policy
from gatepost.policies.base import PolicyContext
from gatepost.policies.states import States
from gatepost.stores.access import Access

# One use of each policy, and what makes it refuse. A new policy adds its line.
USES: dict[str, tuple[Any, Callable[[Policy], Response | None]]] = {}


def refuses(
    name: str, config: Any
) -> Callable[[Callable[[Policy], Response | None]], Callable[[Policy], Response | None]]:
    def add(provoke: Callable[[Policy], Response | None]) -> Callable[[Policy], Response | None]:
        USES[name] = (config, provoke)
        return provoke

    return add


@refuses("api_key", ApiKeyPolicy())
def _(policy: Policy) -> Response | None:
    return policy.on_request(an_exchange(policy))


@refuses("basic", BasicPolicy())
@refuses("jwt", JwtPolicy(algorithms=("HS256",), secrets=(Secret("x" * 32),)))
@refuses("oauth2_introspection", Oauth2IntrospectionPolicy(url="http://a", client_id="a", client_secret=Secret("b")))
@refuses(
    "http_signature",
    HttpSignaturePolicy(keys={"a": HttpSignatureKey(algorithm="hmac-sha256", secret=Secret("x" * 32))}),
)
@refuses("webhook_signature", WebhookSignaturePolicy(github=SignedBody(secret=Secret("x"))))
@refuses("mtls", MtlsPolicy())
@refuses("ip", IpPolicy(deny=("0.0.0.0/0",)))
@refuses("anonymous", AnonymousPolicy(consumer="nobody"))
@refuses("any_of", AnyOfPolicy(policies=(AlternativeUse(mtls=MtlsPolicy()), AlternativeUse(basic=BasicPolicy()))))
@refuses("all_of", AllOfPolicy(policies=(CredentialUse(mtls=MtlsPolicy()), CredentialUse(basic=BasicPolicy()))))
def _(policy: Policy) -> Response | None:
    return answered(policy, an_exchange(policy))


@refuses("rate_limit", RateLimitPolicy(limit=1, window=60.0))
def _(policy: Policy) -> Response | None:
    answers = [step(x) for x in (an_exchange(policy), an_exchange(policy)) for step in x.route.on_request]
    return answers[-1]


@refuses("quota", QuotaPolicy(limit=1, period="day"))
def _(policy: Policy) -> Response | None:
    answers = [step(x) for x in (an_exchange(policy), an_exchange(policy)) for step in x.route.on_request]
    return answers[-1]


@refuses("concurrency", ConcurrencyPolicy(limit=1))
def _(policy: Policy) -> Response | None:
    answers = [step(x) for x in (an_exchange(policy), an_exchange(policy)) for step in x.route.on_request]
    return answers[-1]


@refuses("queue", QueuePolicy(limit=1, length=1))
def _(policy: Policy) -> Response | None:
    answers = []
    for _ in range(3):
        x = an_exchange(policy)
        x.loop = StillLoop()
        answers.append(policy.on_request(x))
    assert answers[0] is None
    assert isinstance(answers[1], Awaitable)
    assert isinstance(answers[2], Response)
    return answers[2]


@refuses("body_size", BodySizePolicy(limit=1))
def _(policy: Policy) -> Response | None:
    answer = policy.on_request(make_exchange("POST", "/", body=b"12", policies=(policy,))[0])
    assert isinstance(answer, Response)
    return answer


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


@refuses("cors", CorsPolicy(origins=("https://shop.example",)))
def _(policy: Policy) -> Response | None:
    fields = [(b"origin", b"https://elsewhere.example"), (b"access-control-request-method", b"PUT")]
    return answered(policy, make_exchange("OPTIONS", "/orders", fields, policies=(policy,))[0])


@refuses("redirect", RedirectPolicy(to="/next/${request.query.page}"))
def _(policy: Policy) -> Response | None:
    return answered(policy, an_exchange(policy))


@refuses("version", VersionPolicy(header="X-Version", versions={"v1": Version()}))
def _(policy: Policy) -> Response | None:
    return answered(policy, an_exchange(policy))


@refuses("rewrite", RewritePolicy(path="/by-name/${request.query.name}"))
def _(policy: Policy) -> Response | None:
    return answered(policy, make_exchange("GET", "/?name=..", policies=(policy,))[0])


@refuses("method", MethodPolicy(to="POST"))
def _(policy: Policy) -> Response | None:
    return answered(policy, make_exchange("HEAD", "/", policies=(policy,))[0])


@refuses("transform", TransformPolicy(request="{'id': request.body.order_id}", response="response.body.data"))
def _(policy: Policy) -> Response | None:
    return answered(policy, make_exchange("POST", "/", body=b"{}", policies=(policy,))[0])


@refuses("policy", PythonPolicy(use="tests.support.own_policies:Closed", settings={"reason": "holidays"}))
def _(policy: Policy) -> Response | None:
    return answered(policy, an_exchange(policy))


@refuses("cache", CachePolicy())
def _(policy: Policy) -> Response | None:
    return answered(policy, make_exchange("GET", "/", [(b"cache-control", b"only-if-cached")], policies=(policy,))[0])


# Those that let everything pass.
PASSING = {"request_id", "security_headers", "headers", "query", "compress"}


@refuses("compress", CompressPolicy())
@refuses("request_id", RequestIdPolicy(header="X-Trace"))
@refuses("security_headers", SecurityHeadersPolicy())
@refuses("headers", HeadersPolicy(request=FieldEdits(set={"X-Who": "${consumer.id}"})))
@refuses("query", QueryPolicy(remove=("debug",)))
def _(policy: Policy) -> Response | None:
    x = an_exchange(policy)
    answers = [step(x) for step in x.route.on_request]
    assert not any(answers)
    return None


def answered(policy: Policy, x: Exchange) -> Response | None:
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
    if name in PASSING:
        assert answer is None
        return
    assert answer is not None
    assert str(answer.status) in chapter
    assert json.loads(answer.body)["type"].removeprefix(PROBLEM_PREFIX) in chapter


@pytest.mark.parametrize("name", sorted(set(POLICIES) - PASSING))
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
    """Not a request, nor what follows from it, waits for anything: who must wait says so with an awaitable."""

    def no_io(*_: Any, **__: Any) -> Any:
        raise AssertionError("a policy did I/O")

    provoke, policy = USES[name][1], built(name)
    x = an_exchange(policy)
    x.response_fields = FieldList()
    # Without `recorded` the first line would start the thread that writes it.
    with log.recorded(), monkeypatch.context() as patch:
        for blocking in BLOCKING:
            patch.setattr(blocking, no_io)
        assert (provoke(policy) is None) == (name in PASSING)
        for step in (*x.route.on_response, *x.route.on_finish):
            step(x)


# Whatever waits for a kernel, a disk, another thread or another process.
BLOCKING = (
    "socket.socket",
    "socket.getaddrinfo",
    "builtins.open",
    "io.open",
    "os.open",
    "os.read",
    "os.write",
    "os.fsync",
    "time.sleep",
    "threading.Thread.start",
    "threading.Event.wait",
    "subprocess.Popen",
    "ssl.create_default_context",
)


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
