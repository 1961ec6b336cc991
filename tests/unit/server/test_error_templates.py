from __future__ import annotations

import json

import pytest
from tests.support.exchanges import make_exchange

from gatepost.compile import check
from gatepost.config.loading import load_text
from gatepost.errors import ConfigError, ExpressionError, Problem
from gatepost.exchange import Exchange, Response, problem
from gatepost.http1.messages import Fields
from gatepost.server.errors import ErrorTemplate, ErrorTemplates

MISSING = Problem(404, "no-route", "Nothing is routed here", 'no route matches <this> & "that"')
LIMITED = Problem(429, "rate-limited", "Too many requests")


def templates(**by_status: dict[str, str]) -> ErrorTemplates:
    return ErrorTemplates(
        {
            status.removeprefix("s"): {kind: ErrorTemplate(kind, text) for kind, text in bodies.items()}
            for status, bodies in by_status.items()
        }
    )


def refused(of: Problem = MISSING, accept: bytes = b"text/html", path: str = "/") -> tuple[Exchange, Response]:
    x, _ = make_exchange("GET", path, [(b"accept", accept)] if accept else [])
    answer = problem(x.id, of, [(b"retry-after", b"3")])
    x.outcome = answer.outcome
    return x, answer


def answer(of: ErrorTemplates, x: Exchange, response: Response) -> tuple[Fields, str]:
    fields, body = of.answer(x, response.status, response.fields, response.body)
    return fields, body.decode()


def test_a_page_for_browsers_the_document_for_everyone_else() -> None:
    pages = templates(s404={"text/html": "<h1>${problem.title}</h1>${problem.status} ${problem.request_id}"})
    fields, body = answer(pages, *refused())
    assert body == "<h1>Nothing is routed here</h1>404 req-1"
    assert fields == [(b"retry-after", b"3"), (b"content-type", b"text/html; charset=utf-8"), (b"vary", b"accept")]
    for accept in (b"", b"*/*", b"application/json", b"image/png", b"application/problem+json, text/html;q=0.9"):
        fields, body = answer(pages, *refused(accept=accept))
        assert json.loads(body)["type"] == "urn:gatepost:problem:no-route"
        assert (b"content-type", b"application/problem+json") in fields
        assert (b"vary", b"accept") in fields


def test_the_most_exact_entry_counts() -> None:
    pages = templates(
        s404={"text/plain": "status"}, **{"4xx": {"text/plain": "class"}}, default={"text/plain": "default"}
    )
    for status, expected in ((404, "status"), (429, "class"), (502, "default")):
        x, response = refused(Problem(status, "a", "A"), b"text/plain")
        assert answer(pages, x, response)[1] == expected
    assert answer(templates(s404={"text/plain": "x"}), *refused(LIMITED))[1].startswith("{")


def test_what_a_service_answered_is_never_touched() -> None:
    x, _ = refused()
    pages = templates(default={"text/html": "ours"})
    for body in (b"not found", b'{"type":"about:blank","title":"theirs"}', b""):
        assert pages.answer(x, 404, [], body) == ([], body)


@pytest.mark.parametrize("kind", ["text/html", "application/xhtml+xml", "image/svg+xml", "application/xml"])
def test_values_are_escaped_in_markup(kind: str) -> None:
    pages = templates(default={kind: "<p title='${problem.detail}'>${request.query.q}"})
    x, response = refused(accept=kind.encode())
    x.query = b"q=%3Cscript%3E%27"
    body = answer(pages, x, response)[1]
    assert body == "<p title='no route matches &lt;this&gt; &amp; &quot;that&quot;'>&lt;script&gt;&#x27;"


def test_values_are_escaped_in_json() -> None:
    pages = templates(default={"application/json": '{"error": "${problem.detail}", "code": ${problem.status}}'})
    body = answer(pages, *refused(accept=b"application/json"))[1]
    assert json.loads(body) == {"error": MISSING.detail, "code": 404}


def test_a_json_body_may_be_one_expression() -> None:
    pages = templates(default={"application/json": " ${ {'code': problem.status, 'why': problem.title} } "})
    assert answer(pages, *refused(accept=b"application/json"))[1] == '{"code":404,"why":"Nothing is routed here"}'


def test_a_member_that_is_missing_is_empty() -> None:
    pages = templates(default={"text/plain": "[${problem.detail}]"})
    assert answer(pages, *refused(LIMITED, b"text/plain"))[1] == "[]"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text/html", "${request.headers['x-none']}"),
        ("application/json", '{"title": ${problem.title}}'),  # a text outside quotes
    ],
)
def test_a_template_that_fails_leaves_the_document(kind: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("gatepost.server.errors.log.event", lambda event, **_: lines.append(event))
    pages = templates(default={kind: text})
    for _ in range(3):
        fields, body = answer(pages, *refused(accept=kind.encode()))
        assert json.loads(body)["status"] == 404
        assert (b"content-type", b"application/problem+json") in fields
    assert lines == ["error_template_failed"], "once in ten seconds"


def test_what_is_no_json_is_a_fault_at_once() -> None:
    with pytest.raises(ExpressionError, match="is not JSON"):
        ErrorTemplate("application/json", '{"a": "${problem.title}"')


def test_faults_have_their_line() -> None:
    text = """\
errors:
  "404":
    text/html: "${problem.titel}"
  4xx:
    application/vnd.shop.v1+json: "{"
    text/plain: fine
"""
    with pytest.raises(ConfigError) as refused:
        check("gatepost.yaml", load_text(text))
    assert [(issue.line, issue.path) for issue in refused.value.issues] == [
        (3, "errors.404.text/html"),
        (5, "errors.4xx.application/vnd.shop.v1+json"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "errors: {404: {text/html: x}}",
        'errors: {"200": {text/html: x}}',
        "errors: {default: {html: x}}",
        "errors: {default: {text/*: x}}",
        "errors: {default: {Text/HTML: x}}",
    ],
)
def test_keys_are_statuses_and_media_types(text: str) -> None:
    with pytest.raises(ConfigError):
        load_text(text)
