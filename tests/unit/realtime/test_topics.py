from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.realtime.topics import Selector, Topic, parse_topic


def test_a_topic_is_an_app_and_a_channel() -> None:
    assert parse_topic("/shop/orders/12345") == Topic("shop", "/orders/12345")
    assert parse_topic("/app_00000000007/x") == Topic("app_00000000007", "/x")


@pytest.mark.parametrize("text", ["", "/", "shop/orders", "/shop", "/shop/", "//orders", "https://shop/orders"])
def test_what_names_no_channel_is_no_topic(text: str) -> None:
    with pytest.raises(ValueError, match="is no topic; write /app/channel"):
        parse_topic(text)


@pytest.mark.parametrize("text", ["/shop/*", "/shop/orders/{id}", "/{app}/orders/1", "*"])
def test_a_pattern_cannot_be_subscribed_to(text: str) -> None:
    with pytest.raises(ValueError, match="name each topic"):
        parse_topic(text)


def test_a_topic_is_bounded() -> None:
    with pytest.raises(ValueError, match="512 characters"):
        parse_topic("/shop/" + "x" * 512)


@pytest.mark.parametrize(
    ("selector", "topic", "matches"),
    [
        ("/shop/orders/1", "/shop/orders/1", True),
        ("/shop/orders/1", "/shop/orders/12", False),
        ("/shop/orders/1", "/shop/orders/1/", False),
        ("/shop/orders/{id}", "/shop/orders/1", True),
        ("/shop/orders/{id}", "/shop/orders/", False),
        ("/shop/orders/{id}", "/shop/orders/1/notes", False),
        ("/shop/orders/{id}", "/shop/invoices/1", False),
        ("/shop/{kind}/public", "/shop/news/public", True),
        ("/shop/{kind}/public", "/shop/news/private", False),
        ("/shop/*", "/shop/orders/1", True),
        ("/shop/*", "/shop/orders", True),
        ("/shop/*", "/shop/", False),
        ("/shop/*", "/shop", False),
        ("/shop/*", "/shopping/orders", False),
        ("/shop/*", "/other/shop/orders", False),
        ("/shop/orders/*", "/shop/orders", False),
        ("/shop/orders/*", "/shop/orders/1/2", True),
        ("/shop/orders/{id}/*", "/shop/orders/1/2", True),
        ("/shop/orders/{id}/*", "/shop/orders//2", False),
        ("/shop/*", "shop/orders", False),
    ],
)
def test_selectors(selector: str, topic: str, matches: bool) -> None:
    assert Selector(selector).matches(topic) is matches


@pytest.mark.parametrize(
    "text",
    ["", "*", "/", "/shop", "/*", "/{app}/orders", "/shop//x", "/shop/a{id}", "/shop/{}", "/shop/*/x", "/shop/x*"],
)
def test_a_selector_that_could_be_misread_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Selector(text)


segment = st.text(st.characters(exclude_characters="/{}*", codec="utf-8"), min_size=1, max_size=5)


@given(app=segment, rest=st.lists(segment, min_size=1, max_size=4), other=segment)
def test_no_selector_reaches_another_app(app: str, rest: list[str], other: str) -> None:
    channel = "/".join(rest)
    for selector in (f"/{app}/{channel}", f"/{app}/*", f"/{app}/{{any}}"):
        assert Selector(selector).matches(f"/{other}/{channel}") <= (other == app)
    assert Selector(f"/{app}/*").matches(f"/{app}/{channel}")
