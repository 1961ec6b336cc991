from __future__ import annotations

import json
from hashlib import sha256

import pytest
from tests.support.exchanges import make_exchange

from gatepost.http1.messages import Fields
from gatepost.policies.admin_token import LONGEST, AdminToken

TOKEN = b"gp_admin_0123456789abcdefghijklmnopqrstuv"
POLICY = AdminToken(sha256(TOKEN).digest())


def bearer(value: bytes) -> Fields:
    return [(b"authorization", value)]


@pytest.mark.parametrize("value", [b"Bearer " + TOKEN, b"bearer  " + TOKEN, b"BEARER " + TOKEN])
def test_the_token_passes(value: bytes) -> None:
    x, _ = make_exchange(fields=bearer(value))
    assert POLICY.on_request(x) is None
    assert x.consumer is not None
    assert x.consumer.id == "admin"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ([], None),
        (bearer(b""), b"invalid_request"),
        (bearer(TOKEN), b"invalid_request"),
        (bearer(b"Bearer"), b"invalid_request"),
        (bearer(b"Bearer "), b"invalid_request"),
        (bearer(b"Basic " + TOKEN), b"invalid_request"),
        (bearer(b"Bearer " + b"x" * (LONGEST + 1)), b"invalid_request"),
        (bearer(b"Bearer " + TOKEN) + bearer(b"Bearer " + TOKEN), b"invalid_request"),
        (bearer(b"Bearer " + TOKEN + b"x"), b"invalid_token"),
        (bearer(b"Bearer " + TOKEN[:-1]), b"invalid_token"),
        (bearer(b"Bearer " + TOKEN.upper()), b"invalid_token"),
        (bearer(b"Bearer " + TOKEN + b", Bearer " + TOKEN), b"invalid_token"),
    ],
)
def test_everything_else_is_refused_in_the_shape_that_svix_clients_read(fields: Fields, error: bytes | None) -> None:
    x, _ = make_exchange(fields=fields)
    answer = POLICY.on_request(x)
    assert answer is not None
    assert answer.status == 401
    assert json.loads(answer.body)["code"] == "authentication_failed"
    assert TOKEN not in answer.body
    challenge = dict(answer.fields)[b"www-authenticate"]
    assert challenge.startswith(b'Bearer realm="gatepost"')
    assert (error is None and b"error" not in challenge) or (error is not None and error in challenge)
    assert x.consumer is None


@pytest.mark.parametrize(("fields", "slug"), [([], "token-missing"), (bearer(b"Bearer x"), "token-invalid")])
def test_on_gatepost_s_own_paths_a_refusal_is_a_problem_document(fields: Fields, slug: str) -> None:
    x, _ = make_exchange("GET", "/own/x", fields)
    answer = AdminToken(sha256(TOKEN).digest(), lambda path: path == "/own/x").on_request(x)
    assert answer is not None
    assert (answer.status, answer.outcome) == (401, slug)
    assert json.loads(answer.body)["type"] == f"urn:gatepost:problem:{slug}"
    assert b"www-authenticate" in dict(answer.fields)
