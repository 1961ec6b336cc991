"""Which endpoints get a message: the rules one by one, then the index against the rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatepost.events.match import SCAN, Matcher, wants
from gatepost.model import App, Endpoint, EndpointSettings
from gatepost.stores.directory import Directory

TYPES = ["order.created", "order.paid", "user.signup"]
PREFIXES = ["order.*", "order.line.*", "user.*"]
CHANNELS = ["/orders/1", "/orders/2", "vip"]


def endpoint(
    key: int = 1,
    event_types: frozenset[str] | None = None,
    channels: frozenset[str] | None = None,
    disabled: bool = False,
    filter: str = "",
) -> Endpoint:
    return Endpoint(
        key=key,
        id=key,
        app=7,
        url="http://x",
        event_types=event_types,
        channels=channels,
        disabled=disabled,
        settings=EndpointSettings(filter=filter),
    )


def directory_of(endpoints: list[Endpoint]) -> Directory:
    directory = Directory()
    directory.load([App(key=7, id=7, name="shop")], endpoints)
    return directory


def test_an_endpoint_without_filters_gets_everything() -> None:
    assert wants(endpoint(), "order.created", ())
    assert wants(endpoint(), "order.created", ("/orders/1",))


def test_event_types_narrow() -> None:
    only_paid = endpoint(event_types=frozenset({"order.paid"}))
    assert wants(only_paid, "order.paid", ())
    assert not wants(only_paid, "order.created", ())


def test_channels_narrow_and_a_message_without_any_is_not_for_them() -> None:
    first = endpoint(channels=frozenset({"/orders/1", "vip"}))
    assert wants(first, "order.paid", ("/orders/1", "other"))
    assert not wants(first, "order.paid", ("/orders/2",))
    assert not wants(first, "order.paid", ())


def test_a_disabled_endpoint_gets_nothing() -> None:
    assert not wants(endpoint(disabled=True), "order.paid", ())


def test_an_unknown_app_has_no_endpoints() -> None:
    assert list(Matcher(Directory()).match(99, "order.paid")) == []


filters = st.builds(
    endpoint,
    event_types=st.none() | st.frozensets(st.sampled_from([*TYPES, *PREFIXES])),
    channels=st.none() | st.frozensets(st.sampled_from(CHANNELS)),
    disabled=st.booleans(),
)


@given(
    st.lists(filters, max_size=3 * SCAN),
    st.sampled_from([*TYPES, "unnamed", "order", "order.line.added", "orders.created"]),
    st.lists(st.sampled_from([*CHANNELS, "other"]), max_size=3, unique=True),
)
def test_the_index_says_what_the_rules_say(found: list[Endpoint], event_type: str, channels: list[str]) -> None:
    endpoints = [endpoint(key, e.event_types, e.channels, e.disabled) for key, e in enumerate(reversed(found), start=1)]
    matcher = Matcher(directory_of(endpoints))
    expected = [e.key for e in endpoints if wants(e, event_type, channels)]
    assert list(matcher.match(7, event_type, channels)) == expected
    assert list(matcher.match(7, event_type, channels)) == expected  # now from the index


def test_a_changed_directory_is_seen_at_once() -> None:
    directory = directory_of([endpoint(key) for key in range(1, 101)])
    matcher = Matcher(directory)
    assert len(matcher.match(7, "order.paid")) == 100
    directory.put_endpoint(endpoint(50, disabled=True))
    directory.drop_endpoint(51)
    assert len(matcher.match(7, "order.paid")) == 98
    assert 50 not in matcher.match(7, "order.paid")


def test_types_that_nobody_names_share_one_slice() -> None:
    matcher = Matcher(directory_of([endpoint(key, event_types=frozenset({"a"})) for key in range(1, 101)]))
    for n in range(1_000):
        assert list(matcher.match(7, f"made-up-{n}")) == []
    (index,) = matcher._indexes.values()
    assert len(index._slices) == 1


def test_a_prefix_names_the_types_below_it() -> None:
    orders = endpoint(event_types=frozenset({"order.*"}))
    assert wants(orders, "order.created", ())
    assert wants(orders, "order.line.added", ())
    assert not wants(orders, "order", ())
    assert not wants(orders, "orders.created", ())
    assert not wants(orders, "order_created", ())


LARGE = b'{"data": {"amount": 1200}}'
SMALL = b'{"data": {"amount": 12}}'


def test_a_filter_looks_into_the_payload() -> None:
    rest = [endpoint(key) for key in range(2, 2 + 2 * SCAN)]
    for others in ([], rest):  # by the rules, then by the index
        matcher = Matcher(directory_of([endpoint(1, filter="payload.data.amount > 1000"), *others]))
        keys = [e.key for e in others]
        assert list(matcher.match(7, "order.paid", (), LARGE)) == [1, *keys]
        assert list(matcher.match(7, "order.paid", (), SMALL)) == keys


def test_a_filter_knows_type_channels_and_app() -> None:
    text = "event_type == 'order.paid' && '/orders/1' in channels && app == 'shop'"
    directory = Directory()
    directory.load([App(key=7, id=7, name="shop", uid="shop")], [endpoint(1, filter=text)])
    matcher = Matcher(directory)
    assert list(matcher.match(7, "order.paid", ("/orders/1",), SMALL)) == [1]
    assert list(matcher.match(7, "order.paid", ("/orders/2",), SMALL)) == []


def test_a_filter_that_fails_loses_nothing() -> None:
    failing = endpoint(1, filter="payload.nothing.here > 3")
    stored_by_another_release = endpoint(2, filter="no such( syntax")
    false = endpoint(3, filter="payload.data.amount > 1000")
    assert list(Matcher(directory_of([failing, stored_by_another_release, false])).match(7, "x", (), SMALL)) == [1, 2]


def test_a_filter_is_compiled_once_and_asked_once_a_message() -> None:
    matcher = Matcher(directory_of([endpoint(key, filter="payload.data.amount > 1000") for key in range(1, 101)]))
    assert len(matcher.match(7, "order.paid", (), LARGE)) == 100
    assert len(matcher._programs) == 1
