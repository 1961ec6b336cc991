"""What every signature scheme keeps, and the official vectors of those that ship."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from gatepost.errors import SignatureError
from gatepost.model import Secret
from gatepost.signatures import SCHEMES, STANDARD_WEBHOOKS
from gatepost.signatures.base import Scheme

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "provider_signatures.json"
BODY = b'{"test": 2432232314}'
NOW = 1_614_265_330
SECRETS = {"standard_webhooks": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


@pytest.fixture(params=SCHEMES.values(), ids=SCHEMES.keys())
def scheme(request: pytest.FixtureRequest) -> Scheme:
    return request.param


def test_every_scheme_is_registered_under_its_own_name() -> None:
    assert {name: scheme.name for name, scheme in SCHEMES.items()} == {name: name for name in SCHEMES}


def test_what_a_scheme_signs_it_verifies_and_nothing_else(scheme: Scheme) -> None:
    secret = SECRETS[scheme.name]
    fields = scheme.sign("msg_1", NOW, BODY, [Secret(secret)])
    assert all(name == name.lower() for name, _ in fields)
    scheme.verify(fields, BODY, [secret], NOW)
    for altered in (BODY + b"\n", BODY[:-1], b""):
        with pytest.raises(SignatureError):
            scheme.verify(fields, altered, [secret], NOW)
    with pytest.raises(SignatureError):
        scheme.verify([], BODY, [secret], NOW)
    with pytest.raises(SignatureError):
        scheme.verify(fields, BODY, [], NOW)


def test_the_published_vector_of_standard_webhooks() -> None:
    fields = STANDARD_WEBHOOKS.sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY, [Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    )
    assert dict(fields)[b"webhook-signature"] == b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_shared_vectors() -> None:
    if not VECTORS.exists():
        pytest.skip("the project's shared vectors are not beside this clone")
    vectors = [v for v in json.loads(VECTORS.read_text()) if v["provider"].startswith("standard-webhooks")]
    assert vectors
    for vector in vectors:
        body = vector["body"].encode()
        fields = STANDARD_WEBHOOKS.sign(vector["id"], int(vector["timestamp"]), body, [Secret(vector["secret"])])
        assert dict(fields)[b"webhook-signature"].decode() == vector["signature"]
        STANDARD_WEBHOOKS.verify(fields, body, [vector["secret"]], float(vector["timestamp"]))


def test_the_official_library_accepts_what_we_sign() -> None:
    secret = STANDARD_WEBHOOKS.new_secret()
    fields = STANDARD_WEBHOOKS.sign("msg_1", int(time.time()), BODY, [Secret(secret)])
    headers = {name.decode(): value.decode() for name, value in fields}
    assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)


def test_the_example_of_the_docs_tells_genuine_from_forged() -> None:
    page = (Path(__file__).parents[2] / "docs" / "signatures.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    secret = STANDARD_WEBHOOKS.new_secret()
    fields = STANDARD_WEBHOOKS.sign("msg_1", int(time.time()), BODY, [Secret(secret)])
    assert names["genuine"](fields, BODY, secret)
    assert not names["genuine"](fields, BODY + b" ", secret)
