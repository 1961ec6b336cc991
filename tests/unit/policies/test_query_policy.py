from __future__ import annotations

import pytest
from tests.support.policies import declared, passed

from gatepost.policies.base import SettingFault


def query(settings: object, before: str) -> bytes:
    return passed(declared("query", settings), "GET", f"/orders?{before}").query


def test_parameters_are_set_added_and_removed() -> None:
    settings = {"set": {"page": "1"}, "add": {"tag": "new"}, "remove": ["debug"]}
    assert query(settings, "page=9&a=%20b&tag=old&debug&page=8") == b"a=%20b&tag=old&page=1&tag=new"
    assert query(settings, "") == b"page=1&tag=new"


def test_names_are_compared_as_they_mean() -> None:
    assert query({"remove": ["key"]}, "%6Bey=1&ke%79&k=2") == b"k=2"
    assert query({"remove": ["a b"]}, "a+b=1&a%20b=2&c=3") == b"c=3"


def test_values_are_escaped_and_cannot_become_parameters() -> None:
    policy = declared("query", {"set": {"who": "${request.headers['x-who']}"}})
    x = passed(policy, "GET", "/orders?a=1", [(b"x-who", b"a&admin=1#/ \xff")])
    assert x.query == b"a=1&who=a%26admin%3D1%23%2F%20%C3%BF"


def test_expressions_see_the_query_as_it_came() -> None:
    assert query({"set": {"a": "${request.query.b}"}, "remove": ["b"]}, "a=1&b=2") == b"a=2"


def test_without_a_value_there_is_no_parameter_not_even_the_clients() -> None:
    assert query({"set": {"tenant": "${consumer.metadata.tenant}"}}, "tenant=forged&a=1") == b"a=1"


def test_faults_name_their_place() -> None:
    with pytest.raises(SettingFault) as fault:
        declared("query", {"add": {"a": "${nothing}"}})
    assert fault.value.setting == "query.add.a"
