from __future__ import annotations

import pytest
from tests.support.policies import asked, declared, passed, refusal

from gatepost.errors import ConfigError


def test_the_service_sees_another_method() -> None:
    policy = declared("method", "DELETE")
    assert passed(policy, "POST").head.method == b"DELETE"
    assert passed(declared("method", {"to": "PROPFIND"}), "GET").head.method == b"PROPFIND"


def test_questions_about_the_resource_stay_questions() -> None:
    for method in ("OPTIONS", "TRACE"):
        assert passed(declared("method", "DELETE"), method).head.method == method.encode()


def test_head_never_becomes_a_method_whose_answer_has_a_body() -> None:
    assert passed(declared("method", "GET"), "HEAD").head.method == b"HEAD"
    _, answer = asked(declared("method", "POST"), "HEAD")
    assert refusal(answer) == (405, "method-not-allowed")
    assert answer is not None
    assert (b"allow", b"GET") in answer.fields


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "CONNECT", "TRACE"])
def test_methods_that_mean_something_to_the_connection_are_refused(method: str) -> None:
    with pytest.raises(ConfigError, match="cannot stand in"):
        declared("method", method)
