"""Access tokens: one request for all who wait, kept until shortly before their end."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.identity import Answers

from gatepost.clock import ManualClock
from gatepost.destinations.auth import EARLY, LIFETIME, TokenError, Tokens
from gatepost.model import ClientCredentials
from gatepost.net.guard import Guard

CLIENT = ClientCredentials("https://auth.example/token", "me", "secret")


def tokens(answer: object) -> tuple[Tokens, Answers, ManualClock]:
    fetcher, clock = Answers(answer), ManualClock()  # type: ignore[arg-type]
    return Tokens(fetcher, Guard(), clock), fetcher, clock


@pytest.mark.parametrize(
    ("said", "kept"), [({"expires_in": 3600}, 3600 - EARLY), ({"expires_in": 20}, 10.0), ({}, LIFETIME - EARLY)]
)
async def test_a_token_is_fetched_anew_before_it_ends(said: dict[str, int], kept: float) -> None:
    cache, fetcher, clock = tokens({"access_token": "one", **said})
    assert await cache.fetch(CLIENT, 5.0) == "one"
    clock.advance(kept - 0.5)
    assert cache.get(CLIENT) == "one"
    clock.advance(1.0)
    assert cache.get(CLIENT) is None
    assert await cache.fetch(CLIENT, 5.0) == "one"
    assert len(fetcher.asked) == 2


async def test_who_asks_at_the_same_time_shares_one_request_and_one_who_leaves_takes_it_from_nobody() -> None:
    cache, fetcher, _ = tokens({"access_token": "one"})
    fetcher.gate = asyncio.Event()
    first, second = (asyncio.create_task(cache.fetch(CLIENT, 5.0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    fetcher.gate.set()
    assert await second == "one"
    assert len(fetcher.asked) == 1


async def test_a_newer_token_is_not_forgotten_for_an_older_ones_sake() -> None:
    cache, _, _ = tokens({"access_token": "new"})
    await cache.fetch(CLIENT, 5.0)
    cache.forget(CLIENT, "old")
    assert cache.get(CLIENT) == "new"
    cache.forget(CLIENT, "new")
    assert cache.get(CLIENT) is None


async def test_other_credentials_have_another_token() -> None:
    cache, fetcher, _ = tokens({"access_token": "one"})
    await cache.fetch(CLIENT, 5.0)
    await cache.fetch(ClientCredentials(CLIENT.token_url, "me", "other"), 5.0)
    assert len(fetcher.asked) == 2


async def test_a_refusal_is_not_kept() -> None:
    cache, fetcher, _ = tokens(400)
    for _ in range(2):
        with pytest.raises(TokenError, match="answered 400"):
            await cache.fetch(CLIENT, 5.0)
    assert len(fetcher.asked) == 2
