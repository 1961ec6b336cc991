from __future__ import annotations

import json

from tests.support.exchanges import make_exchange

from gatepost.config.policies.body_size import BodySizePolicy
from gatepost.exchange import Response
from gatepost.http1.messages import CHUNKED
from gatepost.policies.base import PolicyContext
from gatepost.policies.body_size import BodySize, build
from gatepost.policies.states import States
from gatepost.stores.access import Access


def policy(limit: int = 10) -> BodySize:
    return build(BodySizePolicy(limit=limit), PolicyContext("upload", Access(), States()))


def ask(policy: BodySize, body: bytes | None, framing: int | None = None) -> Response | None:
    x, _ = make_exchange("POST", "/", body=body, policies=(policy,))
    if framing is not None:
        x.head.framing = framing
    return policy.on_request(x)


def test_a_body_as_long_as_may_be_passes_and_one_byte_more_does_not() -> None:
    assert ask(policy(), b"x" * 10) is None
    refusal = ask(policy(), b"x" * 11)
    assert refusal is not None
    assert refusal.status == 413
    assert json.loads(refusal.body)["type"] == "urn:gatepost:problem:body-too-large"
    assert ask(policy(0), b"") is None
    assert ask(policy(0), b"x") is not None


def test_a_declared_length_is_refused_before_the_body_comes() -> None:
    assert ask(policy(), None, 10) is None
    assert ask(policy(), None, 11) is not None


def test_one_that_does_not_say_its_length_is_watched_while_it_comes() -> None:
    limits = policy(10), policy(5)
    x, _ = make_exchange("POST", "/", body=None, policies=limits)
    assert x.head.framing == CHUNKED
    assert [limit.on_request(x) for limit in limits] == [None, None]
    assert x.route.stream_limit == 5
    assert make_exchange()[0].route.stream_limit is None


def test_what_other_policies_hold_in_memory_bounds_no_body_that_streams() -> None:
    class Holds(BodySize):
        largest_body = None

        def __init__(self) -> None:
            self.body_limit = 5  # as `emit` calls what it may keep

    assert make_exchange(policies=(Holds(),))[0].route.stream_limit is None
