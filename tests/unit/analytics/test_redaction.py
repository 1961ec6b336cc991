from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.analytics.redaction import HIDDEN, Redaction

plain = Redaction()
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "proxy-authorization", "Cookie", "set-cookie", "X-Api-Key", "api_key", "apiKey", "password",
        "new_password", "client_secret", "access_token", "X-Auth-Token", "card", "cardNumber", "CVV", "pin",
        "session_id", "X-Hub-Signature-256", "webhook-signature", "private-key", "SSN",
    ],
)  # fmt: skip
def test_names_of_secrets_are_known(name: str) -> None:
    assert plain.secret(name)


@pytest.mark.parametrize(
    "name", ["Content-Type", "id", "order_id", "amount", "keyboard", "discard", "pinned", "company", "host", "Accept"]
)
def test_other_names_are_not(name: str) -> None:
    assert not plain.secret(name)


def test_names_of_ones_own_are_secret_however_they_are_written() -> None:
    own = Redaction(["X-Tenant", "salary"])
    assert own.secret("x_tenant")
    assert own.secret("Salary")
    assert not own.secret("tenant")


def test_fields_that_carry_credentials_lose_their_values() -> None:
    fields = [(b"authorization", b"Bearer abcdefghijkl"), (b"accept", b"*/*"), (b"x-note", b"see Bearer abcdefghijkl")]
    assert plain.fields(fields) == [
        ("authorization", HIDDEN),
        ("accept", "*/*"),
        ("x-note", f"see Bearer {HIDDEN}"),
    ]
    location = [(b"location", b"https://a.example/back?code=s3cr3t&page=2#access_token=s3cr3t")]
    assert "s3cr3t" not in str(plain.fields(location))


def test_queries_and_forms_lose_the_values_of_secret_parameters() -> None:
    assert plain.query("page=2&api%5Fkey=s3cr3t&q=a%20b&code=s3cr3t&flag") == (
        f"page=2&api%5Fkey={HIDDEN}&q=a%20b&code={HIDDEN}&flag"
    )
    assert plain.query(f"next=%2Fa%3Ftoken%3Ds3cr3t&t={JWT}") == f"next={HIDDEN}&t={HIDDEN}"


def test_json_loses_secrets_at_any_depth() -> None:
    body = {
        "user": {"name": "Ada", "password": "s3cr3t", "cards": [{"number": 1, "cvv": 123}]},
        "tokens": ["s3cr3t", {"a": "s3cr3t"}],
        "note": f"it is {JWT}",
        "pass\u0077ord": "s3cr3t",
        "code": 7,
    }
    text = plain.json(json.dumps(body).encode())
    assert text is not None
    assert "s3cr3t" not in text
    assert JWT not in text
    shown = json.loads(text)
    assert shown["user"]["name"] == "Ada"
    assert shown["user"]["cards"] == [{"number": 1, "cvv": HIDDEN}]
    assert shown["code"] == 7
    assert plain.json(b"{not json") is None
    assert plain.json(b"[" * 100_000) is None


@pytest.mark.parametrize("cut", range(20, 110, 3))
def test_json_that_was_cut_shows_no_part_of_a_secret(cut: int) -> None:
    text = '{"id": 7, "pass\\u0077ord": "s3cr\\"3t-s3cr3t", "token" : s3cr3t, "b": "x", "secrets": ["s3cr3t"], "c": 1}'
    shown = plain.cut_json(text[:cut])
    assert "s3c" not in shown
    assert shown.startswith('{"id": 7')


def test_other_texts_lose_what_looks_secret() -> None:
    assert plain.text("password=s3cr3t; user=ada") == f"password={HIDDEN}; user=ada"
    assert plain.text("<user><ns:password type='a'>s3cr3t</ns:password></user>") == (
        f"<user><ns:password type='a'>{HIDDEN}</ns:password></user>"
    )
    assert "MIIE" not in plain.text("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- rest")
    assert "MIIE" not in plain.text("-----BEGIN PRIVATE KEY-----\nMIIE")  # cut
    assert plain.text("nothing here: 12") == "nothing here: 12"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_no_text_is_refused_and_none_takes_long(text: str) -> None:
    plain.text(text)
    plain.query(text)
    plain.cut_json(text)
    plain.json(text.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    "piece", ['"', '"a', "a=", "<a", "?a=", "bearer ", "eyJaaaaa.", '"a":', "-----BEGIN ", "a" * 60]
)
def test_a_hostile_text_of_64_kib_is_read_in_no_time(piece: str) -> None:
    text = (piece * 65_536)[:65_536]
    began = time.process_time()
    plain.text(text)
    plain.cut_json(text)
    plain.query(text)
    assert time.process_time() - began < 1.0
