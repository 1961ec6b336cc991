from __future__ import annotations

import pytest

from gatepost.deliveries.attempt import Attempts, expired
from gatepost.deliveries.payloads import Payload
from gatepost.destinations.base import Result
from gatepost.lifecycle import State
from gatepost.model import Endpoint, Message, Trigger
from gatepost.stores.base import Completion

ENDPOINT = Endpoint(3, 33, 1, "https://example.com/hook")
PAYLOAD = Payload(Message(77, 1, "order.created", b"{}"))
ATTEMPTS = Attempts((5.0, 300.0), 0.0, lambda: 0.5)


def complete(status: int, error: str = "", tries: int = 0, *, manual: bool = False) -> Completion:
    result = Result(status, b"body", error, 1000.0, 0.25)
    return ATTEMPTS.completion(77, ENDPOINT, tries, PAYLOAD, result, manual=manual)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    done = complete(status)
    assert (done.state, done.tries, done.due) == (State.DELIVERED, 1, None)
    assert done.attempt.ok


@pytest.mark.parametrize("status", [0, 300, 301, 304, 307, 400, 404, 410, 429, 500, 503])
def test_everything_else_is_tried_again(status: int) -> None:
    done = complete(status)
    assert (done.state, done.tries, done.due) == (State.PENDING, 1, 1005.25)
    assert not done.attempt.ok


def test_a_2xx_that_broke_off_is_no_success() -> None:
    assert not complete(200, "the response ended early").attempt.ok


def test_the_last_failure_exhausts_it() -> None:
    assert complete(500, tries=1).state is State.PENDING
    last = complete(500, tries=2)
    assert (last.state, last.tries, last.due) == (State.EXHAUSTED, 3, None)


def test_the_attempt_tells_what_happened() -> None:
    attempt = complete(500, "it says no", manual=True).attempt
    assert (attempt.message, attempt.endpoint, attempt.app, attempt.event_type) == (77, 3, 1, "order.created")
    assert (attempt.status, attempt.response, attempt.error) == (500, b"body", "it says no")
    assert (attempt.started, attempt.duration, attempt.url) == (1000.0, 0.25, "https://example.com/hook")
    assert attempt.trigger == Trigger.MANUAL
    assert complete(200).attempt.trigger == Trigger.SCHEDULED


def test_without_its_payload_it_is_cancelled_and_says_why() -> None:
    done = expired(77, ENDPOINT, 2, 1000.0)
    assert (done.state, done.due) == (State.CANCELLED, None)
    assert "expired" in done.attempt.error
