from __future__ import annotations

import base64
import json
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.exchanges import make_exchange
from tests.support.tokens import CLAIMS, NOW, SECRET, token

from gatepost.config import schema
from gatepost.config.secrets import Secret
from gatepost.errors import Problem
from gatepost.http1.messages import Fields
from gatepost.realtime.auth import Authorizer


def authorizer(public: tuple[str, ...] = (), secret: str | None = SECRET) -> Authorizer:
    return Authorizer(schema.Live(public=public, jwt_secret=None if secret is None else Secret(secret)))


def bearer(text: str) -> Fields:
    return [(b"authorization", b"Bearer " + text.encode())]


def admit(fields: Fields, *topics: str, **config: Any) -> float | Problem:
    x, _ = make_exchange(fields=fields)
    return authorizer(**config).admit(x.head, list(topics or ("/shop/orders/1",)), NOW)


def slug(answer: float | Problem) -> tuple[int, str]:
    assert isinstance(answer, Problem)
    return answer.status, answer.slug


def test_public_topics_need_no_token_and_end_never() -> None:
    assert admit([], public=("/shop/orders/{id}",)) == inf
    assert admit([], public=("/shop/*",), secret=None) == inf
    assert admit(bearer("nonsense"), public=("/shop/*",)) == inf


def test_a_token_that_names_the_topic_opens_it_until_it_ends() -> None:
    assert admit(bearer(token())) == NOW + 60
    assert admit(bearer(token()), "/shop/orders/1", "/shop/news/today") == NOW + 60
    assert admit([(b"authorization", b"bearer " + token().encode())]) == NOW + 60


def test_a_browser_sends_it_in_a_cookie() -> None:
    assert admit([(b"cookie", b"theme=dark; mercureAuthorization=" + token().encode())]) == NOW + 60
    assert admit([(b"cookie", b"theme=dark"), (b"cookie", b"mercureAuthorization=" + token().encode())]) == NOW + 60


def test_the_header_counts_before_the_cookie() -> None:
    cookie = (b"cookie", b"mercureAuthorization=" + token().encode())
    assert slug(admit([cookie, *bearer("nonsense")])) == (401, "token-invalid")


def test_no_token_is_401() -> None:
    assert slug(admit([])) == (401, "token-missing")
    assert slug(admit([(b"authorization", b"Basic " + token().encode())])) == (401, "token-missing")
    assert slug(admit([(b"cookie", b"xmercureAuthorization=" + token().encode())])) == (401, "token-missing")
    assert slug(admit(bearer(token()) * 2)) == (401, "token-missing")


def test_one_private_topic_among_public_ones_needs_a_token() -> None:
    assert slug(admit([], "/shop/open", "/shop/orders/1", public=("/shop/open",))) == (401, "token-missing")
    assert admit(bearer(token()), "/shop/open", "/shop/orders/1", public=("/shop/open",)) == NOW + 60


@pytest.mark.parametrize("topic", ["/shop/orders/2", "/shop/orders", "/shop/orders/1/notes", "/other/orders/1"])
def test_a_token_for_other_topics_is_403(topic: str) -> None:
    answer = admit(bearer(token()), "/shop/orders/1", topic)
    assert slug(answer) == (403, "topic-forbidden")
    assert isinstance(answer, Problem)
    assert topic in answer.detail


@pytest.mark.parametrize(
    "subscribe",
    [
        None,
        [],
        "*",
        ["*"],
        ["/*"],
        ["/{app}/orders/1"],
        "/shop/orders/1",
        [1, None],
        {"/shop/orders/1": 1},
        ["https://x/{y}"],
    ],
)
def test_a_claim_that_names_no_topic_of_ours_opens_nothing(subscribe: Any) -> None:
    assert slug(admit(bearer(token(mercure={"subscribe": subscribe})))) == (403, "topic-forbidden")
    assert slug(admit(bearer(token(mercure=subscribe)))) == (403, "topic-forbidden")


def test_without_a_secret_in_the_file_no_token_opens_anything() -> None:
    assert slug(admit(bearer(token()), secret=None)) == (403, "topic-forbidden")


def forged(header: dict[str, Any], signature: str = "") -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part(header)}.{part(CLAIMS)}.{signature}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b.c",
        "....",
        token(secret="another-secret-of-32-bytes-or-more-"),
        token(alg="HS512"),
        token()[:-2],
        token() + "A",
        token().rpartition(".")[0] + ".",
        forged({"alg": "none"}),
        forged({"alg": "None"}),
        forged({"alg": "HS256"}),
        forged({"alg": "RS256"}, "AAAA"),
        forged({}),
        "A" * 10_000,
    ],
)
def test_a_token_that_is_not_ours_is_401(text: str) -> None:
    assert slug(admit(bearer(text))) == (401, "token-invalid")


def test_an_ended_token_is_401_to_the_second() -> None:
    assert slug(admit(bearer(token(exp=NOW)))) == (401, "token-expired")
    assert admit(bearer(token(exp=NOW + 0.5))) == NOW + 0.5


@pytest.mark.parametrize("exp", [None, "2030-01-01", True, [1]])
def test_a_token_must_say_when_it_ends(exp: Any) -> None:
    assert slug(admit(bearer(token(exp=exp)))) == (401, "token-invalid")
    assert slug(admit(bearer(token({"mercure": CLAIMS["mercure"]})))) == (401, "token-invalid")


def test_a_token_that_has_not_begun_is_401() -> None:
    assert slug(admit(bearer(token(nbf=NOW + 1)))) == (401, "token-invalid")
    assert slug(admit(bearer(token(nbf="soon")))) == (401, "token-invalid")
    assert admit(bearer(token(nbf=NOW))) == NOW + 60


@given(st.binary(max_size=200) | st.text(max_size=60).map(lambda t: f"{t}.{t}.{t}".encode()))
def test_whatever_is_sent_as_a_token_is_refused_and_raises_nothing(raw: bytes) -> None:
    for fields in ([(b"authorization", b"Bearer " + raw)], [(b"cookie", b"mercureAuthorization=" + raw)]):
        assert isinstance(admit(fields), Problem)


def test_a_weak_secret_is_refused() -> None:
    with pytest.raises(ValueError, match=r"live\.jwt_secret: must have at least 32 bytes"):
        authorizer(secret="x" * 31)


def test_a_public_pattern_over_all_apps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"live\.public\[1\]: '/\{app\}/orders' must name its app"):
        authorizer(public=("/shop/*", "/{app}/orders"))
