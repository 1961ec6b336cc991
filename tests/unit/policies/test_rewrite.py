from __future__ import annotations

import pytest
from tests.support.policies import asked, declared, passed, refusal

from gatepost.policies.base import SettingFault


def rewritten(settings: object, path: str, **options: object) -> str:
    return passed(declared("rewrite", settings), "GET", path, **options).path


def test_the_path_is_made_of_the_old_one() -> None:
    assert rewritten("/v2${request.path}", "/orders/42") == "/v2/orders/42"
    assert rewritten("/orders/${request.params.id}/full", "/o/42", params={"id": "42"}) == "/orders/42/full"
    assert rewritten("/fixed", "/anything") == "/fixed"


def test_captures_of_a_pattern_and_paths_that_are_not_like_it() -> None:
    settings = {"pattern": "/reports/{year:[0-9]}-{name}.pdf", "path": "/files/${match.year}/${match.name}"}
    assert rewritten(settings, "/reports/2026-sales.pdf") == "/files/2026/sales"
    assert rewritten(settings, "/reports/latest.pdf") == "/reports/latest.pdf"
    assert rewritten({"pattern": "/old/{rest...}", "path": "/new/${match.rest}"}, "/old/a%20b/c/") == "/new/a%20b/c/"


def test_a_service_that_wants_the_path_as_it_came_gets_the_new_one() -> None:
    x = passed(declared("rewrite", "/v2${request.path}"), "GET", "/orders?a=1")
    assert (x.head.target, x.query) == (b"/v2/orders", b"a=1")


def test_what_fills_a_hole_stays_within_its_segment() -> None:
    assert rewritten("/o/${request.params.id}/x", "/", params={"id": "a b?c#d%41é"}) == "/o/a%20b%3Fc%23d%2541%C3%A9/x"


@pytest.mark.parametrize("value", ["", ".", "..", "../admin", "a/b", "a/../b", "..;x", "a\\b", "a\0b", "%2e%2e/x"])
def test_nothing_slips_past_what_was_decided_by_the_old_path(value: str) -> None:
    policy = declared("rewrite", "/files/${request.query.name}/x")
    from urllib.parse import quote

    x, answer = asked(policy, "GET", f"/?name={quote(value, safe='')}")
    assert refusal(answer) == (400, "path-not-rewritten")
    assert x.path == "/"


def test_a_value_that_is_missing_is_refused() -> None:
    assert refusal(asked(declared("rewrite", "/by/${request.query.name}"))[1]) == (400, "path-not-rewritten")


@pytest.mark.parametrize(
    ("settings", "setting", "why"),
    [
        ("orders", "path", "normalised path"),
        ("//orders", "path", "normalised path"),
        ("/a/../b", "path", "normalised path"),
        ("/a?b=1", "path", "normalised path"),
        ("/a//${request.params.id}", "path", "normalised path"),
        ("/a/${request.path}", "path", "begins with a / itself"),
        ("/a/${match.id}", "path", "no capture"),
        ("/a/${nothing}", "path", "there is no `nothing`"),
        ("/a/${request.params", "path", "closes it"),
        ({"pattern": "/{a}{b}", "path": "/x"}, "pattern", "two captures touch"),
        ({"pattern": "/{a}", "path": "/${match.b}"}, "path", "no capture"),
    ],
)
def test_faults_name_their_place(settings: object, setting: str, why: str) -> None:
    with pytest.raises(SettingFault, match=why) as fault:
        declared("rewrite", settings)
    assert fault.value.setting == f"rewrite.{setting}"
