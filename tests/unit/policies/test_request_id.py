from __future__ import annotations

import pytest
from tests.support.policies import answered, asked, declared, header

from gatepost.exchange import Exchange, Phase
from gatepost.http1.messages import Fields
from gatepost.policies.base import SettingFault
from gatepost.policies.request_id import LONGEST


def met(settings: dict[str, str], fields: Fields, *, trusted: bool = False) -> Exchange:
    policy = declared("request_id", settings)
    x, _ = asked(declared("query", {"remove": ["none"]}), "GET", "/", fields)  # an exchange that nobody has looked at
    x.trusted = trusted
    policy.on_request(x)
    policy.on_response(x)
    return x


def test_it_comes_before_everything_that_could_name_the_exchange() -> None:
    assert declared("request_id", {}).phase is min(Phase)


def test_a_strangers_id_is_taken_only_where_the_file_says_so() -> None:
    given = [(b"x-request-id", b"client-1")]
    assert met({}, given).id == b"req-1"
    assert met({}, given, trusted=True).id == b"client-1"
    assert met({"accept": "always"}, given).id == b"client-1"


def test_never_means_a_proxys_neither() -> None:
    x = met({"accept": "never"}, [(b"x-request-id", b"proxy-1")], trusted=True)
    assert x.id not in (b"req-1", b"proxy-1"), "the server had taken the proxy's"
    assert len(x.id) == 32
    assert met({"accept": "never"}, [(b"x-request-id", b"client-1")]).id == b"req-1"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"x-request-id", b"")],
        [(b"x-request-id", b"a b")],
        [(b"x-request-id", b'a"b')],
        [(b"x-request-id", b"\xff")],
        [(b"x-request-id", b"a" * (LONGEST + 1))],
        [(b"x-request-id", b"a"), (b"x-request-id", b"b")],
    ],
)
def test_what_is_no_one_sound_id_is_nobodys(fields: Fields) -> None:
    assert met({"accept": "always"}, fields).id == b"req-1"


def test_another_field_carries_it_both_ways() -> None:
    x = met({"header": "X-Trace", "accept": "always"}, [(b"x-trace", b"t-1"), (b"a", b"1")])
    assert x.id == b"t-1"
    assert x.head.fields == [(b"a", b"1"), (b"x-trace", b"t-1")]
    x = met({"header": "X-Trace"}, [(b"x-trace", b"forged")])
    assert x.head.fields == [(b"x-trace", b"req-1")]
    policy = declared("request_id", {"header": "X-Trace"})
    x, _ = asked(policy)
    assert header(answered(x, [(b"x-trace", b"the service's")]), "x-trace") == "req-1"


def test_the_usual_field_is_the_servers_to_write() -> None:
    x = met({}, [])
    assert (x.head.fields, x.response_fields) == ([], [])


def test_a_field_with_a_meaning_of_its_own_is_refused() -> None:
    with pytest.raises(SettingFault, match="meaning of its own"):
        declared("request_id", {"header": "Connection"})
