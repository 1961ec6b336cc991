from __future__ import annotations

from typing import Any

import pytest
from tests.support.policies import answered, declared, header, passed

from gatepost.exchange import Consumer
from gatepost.http1.messages import FieldList
from gatepost.http1.request import HeadLimits, RequestParser
from gatepost.http1.writer import field_lines
from gatepost.policies.base import SettingFault

CLIENT = [(b"accept", b"*/*"), (b"x-tier", b"forged"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]


def test_fields_of_the_request_are_set_added_and_removed() -> None:
    edits = {"set": {"X-Client": "${client.address}"}, "add": {"Via": "1.1 gatepost"}, "remove": ["Cookie"]}
    x = passed(declared("headers", {"request": edits}), "GET", "/orders", CLIENT)
    assert x.head.fields == [CLIENT[0], CLIENT[1], (b"via", b"1.1 gatepost"), (b"x-client", b"192.0.2.1")]


def test_a_field_that_is_set_is_the_gateways_or_is_not_there() -> None:
    policy = declared("headers", {"request": {"set": {"X-Tier": "${consumer.metadata.tier}"}}})
    x = passed(policy, "GET", "/orders", CLIENT)
    assert x.head.get(b"x-tier") is None, "nobody was identified, and the client's own value is gone"
    x, _ = passed(policy, "GET", "/orders", CLIENT), None
    x.consumer = Consumer("shop", metadata={"tier": "gold"})
    x.head.fields = CLIENT
    policy.on_request(x)
    assert x.head.all(b"x-tier") == [b"gold"]


def test_fields_of_the_response_are_changed_too_and_may_look_at_it() -> None:
    policy = declared(
        "headers", {"response": {"set": {"X-Seen": "${response.status} on ${route.name}"}, "remove": ["Server"]}}
    )
    fields = answered(passed(policy), [(b"server", b"x/1.2"), (b"etag", b'"a"')], 404)
    assert fields == [(b"etag", b'"a"'), (b"x-seen", b"404 on route")]


def test_lists_that_others_share_stay_as_they_are() -> None:
    policy = declared("headers", {"request": {"remove": ["Accept"]}, "response": {"set": {"A": "1"}}})
    shared = list(CLIENT)
    x = passed(policy, "GET", "/orders", shared)
    assert shared == CLIENT
    upstream = FieldList()
    upstream.append((b"etag", b"1"))
    upstream.lines = b"ETag: 1\r\n"
    fields = answered(x, upstream)
    assert list(upstream) == [(b"etag", b"1")]
    assert field_lines(fields) == b"ETag: 1\r\na: 1\r\n", "what was known as bytes stays so"


def test_a_request_that_is_only_passed_on_keeps_its_bytes() -> None:
    policy = declared("headers", {"request": {"set": {"X-A": "1"}, "remove": ["Cookie"]}})
    x = passed(policy)
    head = b"GET / HTTP/1.1\r\nHost: a\r\nAccept:  b\r\nCookie: c\r\nX-a: 0\r\n\r\n"
    x.head = RequestParser(HeadLimits()).parse(head)
    policy.on_request(x)
    assert x.head.block.lines == b"Accept:  b\r\nx-a: 1\r\n"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\x7f"])
def test_a_value_is_never_more_than_a_value(value: str) -> None:
    policy = declared("headers", {"request": {"set": {"X-Name": "${request.params.name}"}}})
    x = passed(policy, params={"name": value})
    assert x.head.get(b"x-name") is None
    assert b"Evil" not in field_lines(x.head.fields)


@pytest.mark.parametrize(
    ("side", "name"),
    [
        ("request", "Host"),
        ("request", "content-length"),
        ("request", "Transfer-Encoding"),
        ("request", "Connection"),
        ("request", "X-Forwarded-For"),
        ("request", "X-Request-Id"),
        ("request", "Upgrade"),
        ("response", "Content-Length"),
        ("response", "Keep-Alive"),
        ("response", "Date"),
        ("response", "X-Request-Id"),
    ],
)
@pytest.mark.parametrize("how", ["set", "add", "remove"])
def test_what_the_gateway_writes_itself_is_refused_with_its_own_line(side: str, name: str, how: str) -> None:
    edit: Any = [name] if how == "remove" else {name: "1"}
    with pytest.raises(SettingFault, match="cannot be changed") as fault:
        declared("headers", {side: {how: edit}})
    assert fault.value.setting.startswith(f"headers.{side}.{how}")


def test_faults_of_templates_name_their_place() -> None:
    with pytest.raises(SettingFault, match=r"there is no `consumer\.name`") as fault:
        declared("headers", {"request": {"set": {"X-A": "${consumer.name}"}}})
    assert fault.value.setting == "headers.request.set.X-A"
    with pytest.raises(SettingFault, match="line ends"):
        declared("headers", {"request": {"set": {"X-A": "a\nb"}}})
    with pytest.raises(SettingFault, match=r"response\.body"):
        declared("headers", {"response": {"set": {"X-A": "${response.body.a}"}}})


def test_a_value_out_of_the_body_needs_the_body() -> None:
    policy = declared("headers", {"request": {"set": {"X-Order": "${request.body.id}"}}})
    assert policy.needs_request_body
    x = passed(policy, "POST", "/orders", [], b'{"id": 7}')
    assert header(x.head.fields, "x-order") == "7"
    assert not declared("headers", {"request": {"set": {"X-A": "1"}}}).needs_request_body
