from __future__ import annotations

import hmac
from typing import Any

import pytest
from tests.support.exchanges import make_exchange
from tests.support.identity import Told, at_once, challenge, context, slug

from gatepost.config.policies.webhook_signature import WebhookSignaturePolicy
from gatepost.config.secrets import Secret
from gatepost.config.signatures import SignedBody, SignedInTime
from gatepost.exchange import Exchange
from gatepost.policies.webhook_signature import build

BODY = b'{"action": "opened"}'


def policy(told: Told | None = None, **config: Any) -> Any:
    use = WebhookSignaturePolicy(**{"github": SignedBody(secret=Secret("hush")), **config})
    return build(use, context(told=told))


def sent(body: bytes = BODY, secret: bytes = b"hush") -> Exchange:
    signature = b"sha256=" + hmac.digest(secret, body, "sha256").hex().encode()
    return make_exchange("POST", "/hook", [(b"x-hub-signature-256", signature)], body)[0]


def test_a_signed_webhook_passes_and_may_name_its_sender() -> None:
    assert policy().needs_request_body
    assert at_once(policy(), sent()) is None
    x = sent()
    assert at_once(policy(consumer="ann"), x) is None
    assert x.consumer is not None
    assert x.consumer.id == "ann"
    assert slug(at_once(policy(consumer="bob"), sent())) == "consumer-not-allowed"


def test_any_other_is_refused() -> None:
    told = Told()
    it = policy(told)
    missing = at_once(it, make_exchange("POST", "/hook", [], BODY)[0])
    assert missing is not None
    assert (missing.status, slug(missing)) == (401, "signature-missing")
    assert challenge(missing) == 'WebhookSignature realm="gatepost"'
    assert told.notices == []
    changed = sent()
    changed.body = BODY + b" "
    for x in (changed, sent(secret=b"other")):
        refusal = at_once(it, x)
        assert refusal is not None
        assert (refusal.status, slug(refusal)) == (401, "signature-invalid")
    assert len(told.notices) == 2


def test_a_secret_that_is_none_is_refused_when_it_is_built() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        policy(github=None, standard_webhooks=SignedInTime(secret=Secret("hello")))
