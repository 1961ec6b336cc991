"""Standard Webhooks, by itself: keys, rotation and how each attack is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.model import Secret
from gatepost.signatures.standard_webhooks import MAX_SIGNATURES, StandardWebhooks

NOW = 1_700_000_000
BODY = b'{"order_id": 12345}'
SCHEME = StandardWebhooks()
SECRET = SCHEME.new_secret()


def signed(secret: str = SECRET, body: bytes = BODY, at: int = NOW, id: str = "msg_1") -> Fields:
    return SCHEME.sign(id, at, body, [Secret(secret)])


def replaced(fields: Fields, name: bytes, value: bytes) -> Fields:
    return [(key, value if key == name else old) for key, old in fields]


def refuse(fields: Fields, reason: str, *, body: bytes = BODY, secret: str = SECRET, now: float = NOW) -> None:
    with pytest.raises(SignatureError, match=reason):
        SCHEME.verify(fields, body, [secret], now)


def test_it_is_hmac_sha256_over_id_time_and_body() -> None:
    key = bytes(range(40))
    fields = dict(signed("whsec_" + base64.b64encode(key).decode()))
    expected = hmac.digest(key, b"msg_1.1700000000." + BODY, "sha256")
    assert fields[b"webhook-signature"] == b"v1," + base64.b64encode(expected)
    assert fields[b"webhook-id"] == b"msg_1"
    assert fields[b"webhook-timestamp"] == b"1700000000"


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=300))
def test_precomputed_pads_are_the_same_hmac(key: bytes, body: bytes) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    given_signature = dict(signed(secret, body))[b"webhook-signature"]
    assert base64.b64decode(given_signature[3:]) == hmac.digest(key, b"msg_1.1700000000." + body, hashlib.sha256)


def test_what_was_signed_verifies_and_names_its_id_and_time() -> None:
    assert SCHEME.verify(signed(), BODY, [SECRET], NOW) == ("msg_1", float(NOW))


def test_the_lines_of_a_head_carry_the_same_fields() -> None:
    lines = SCHEME.signer([Secret(SECRET)]).lines(b"msg_1", NOW, BODY)
    assert lines == b"".join(b"%b: %b\r\n" % field for field in signed())


def test_a_wrong_secret_is_refused() -> None:
    refuse(signed(SCHEME.new_secret()), "no signature matches")


def test_an_altered_body_id_or_time_is_refused() -> None:
    refuse(signed(), "no signature matches", body=BODY + b" ")
    refuse(replaced(signed(), b"webhook-id", b"msg_2"), "no signature matches")
    refuse(replaced(signed(), b"webhook-timestamp", b"1700000001"), "no signature matches")


def test_old_and_future_signatures_are_refused_beyond_five_minutes() -> None:
    SCHEME.verify(signed(), BODY, [SECRET], NOW + 300)
    SCHEME.verify(signed(), BODY, [SECRET], NOW - 300)
    refuse(signed(), "too old", now=NOW + 301)
    refuse(signed(), "future", now=NOW - 301)


@pytest.mark.parametrize("stamp", [b"-1700000000", b"1700000000.0", b"1e9", b" 1700000000", b"nan", b"9" * 13])
def test_a_time_that_is_not_plain_digits_is_refused(stamp: bytes) -> None:
    refuse(replaced(signed(), b"webhook-timestamp", stamp), "not a number of seconds")


@pytest.mark.parametrize("name", [b"webhook-id", b"webhook-timestamp", b"webhook-signature"])
def test_a_missing_empty_or_doubled_field_is_refused(name: bytes) -> None:
    refuse([field for field in signed() if field[0] != name], "missing")
    refuse(replaced(signed(), name, b""), "missing")
    refuse([*signed(), *(field for field in signed() if field[0] == name)], "given twice")
    refuse([(name, b""), *signed()], "given twice")


def test_another_version_is_no_signature() -> None:
    value = dict(signed())[b"webhook-signature"]
    for version in (b"v0", b"v2", b"V1", b"v1a", b""):
        with pytest.raises(SignatureError):
            SCHEME.verify(replaced(signed(), b"webhook-signature", version + value[2:]), BODY, [SECRET], NOW)


@pytest.mark.parametrize(
    "value", [b"v1", b"v1,", b"v1,AAAA", b"v1,@@@@", b"v1," + b"A" * 60, b"v1,\xff", b"v1,AA==AA=="]
)
def test_a_malformed_signature_is_refused(value: bytes) -> None:
    refuse(replaced(signed(), b"webhook-signature", value), "malformed|base64")


def test_an_id_with_a_full_stop_cannot_move_the_border_to_the_body() -> None:
    # "msg_1" "." "1700000000" "." '1700000000.{}' could also be read with the id "msg_1.1700000000".
    fields = signed(body=b"1700000000.{}")
    refuse(replaced(fields, b"webhook-id", b"msg_1.1700000000"), "full stop", body=b"{}")


def test_hundreds_of_signatures_are_not_even_tried() -> None:
    value = dict(signed())[b"webhook-signature"]
    SCHEME.verify(replaced(signed(), b"webhook-signature", b" ".join([value] * MAX_SIGNATURES)), BODY, [SECRET], NOW)
    refuse(replaced(signed(), b"webhook-signature", b" ".join([value] * (MAX_SIGNATURES + 1))), "more than")


def test_no_secret_verifies_nothing() -> None:
    with pytest.raises(SignatureError, match="no secret"):
        SCHEME.verify(signed(), BODY, [], NOW)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "plain",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_!!!!" + base64.b64encode(b"x" * 32).decode(),
        "whsk_" + base64.b64encode(b"x" * 31).decode(),
        "whsk_" + base64.b64encode(b"x" * 64).decode(),
        "whpk_" + base64.b64encode(b"x" * 33).decode(),
    ],
)
def test_a_malformed_secret_signs_and_verifies_nothing(secret: str) -> None:
    with pytest.raises(SignatureError):
        SCHEME.signer([Secret(secret)])
    refuse(signed(), "secret|key|base64", secret=secret)


def test_errors_name_no_secret() -> None:
    secret = "whsec_" + base64.b64encode(b"short").decode()
    with pytest.raises(SignatureError) as caught:
        SCHEME.signer([Secret(secret)])
    assert secret not in str(caught.value)


def test_while_a_secret_rotates_both_sign_the_newest_first() -> None:
    old, new = SCHEME.new_secret(), SCHEME.new_secret()
    secrets = [Secret(new), Secret(old, expires=NOW + 10)]
    both = SCHEME.sign("msg_1", NOW, BODY, secrets)
    first, second = dict(both)[b"webhook-signature"].split(b" ")
    assert first == dict(signed(new))[b"webhook-signature"]
    assert second == dict(signed(old))[b"webhook-signature"]
    for secret in (old, new):
        SCHEME.verify(both, BODY, [secret], NOW)


def test_a_signer_drops_a_secret_when_it_expires() -> None:
    old, new = SCHEME.new_secret(), SCHEME.new_secret()
    signer = SCHEME.signer([Secret(new), Secret(old, expires=NOW + 10)])
    assert signer.lines(b"msg_1", NOW + 9, BODY).count(b"v1,") == 2
    assert signer.lines(b"msg_1", NOW + 10, BODY).count(b"v1,") == 1
    assert dict(signed(new, at=NOW + 10))[b"webhook-signature"] in signer.lines(b"msg_1", NOW + 10, BODY)


def test_without_a_secret_in_force_nothing_is_signed() -> None:
    with pytest.raises(SignatureError, match="no signing secret"):
        SCHEME.sign("msg_1", NOW, BODY, [])
    with pytest.raises(SignatureError, match="no signing secret"):
        SCHEME.sign("msg_1", NOW, BODY, [Secret(SECRET, expires=NOW)])


def test_ed25519_verifies_with_the_public_key_alone() -> None:
    private, public = SCHEME.new_key_pair()
    fields = signed(private)
    assert dict(fields)[b"webhook-signature"].startswith(b"v1a,")
    SCHEME.verify(fields, BODY, [public], NOW)
    SCHEME.verify(fields, BODY, [private], NOW)
    refuse(fields, "no signature matches", secret=SCHEME.new_key_pair()[1])
    refuse(fields, "no signature matches", secret=public, body=BODY + b" ")
    refuse(fields, "no signature matches", secret=SECRET)


def test_a_public_key_cannot_sign() -> None:
    with pytest.raises(SignatureError):
        signed(SCHEME.new_key_pair()[1])


def test_a_symmetric_signature_made_with_the_public_key_as_text_is_refused() -> None:
    # The classic confusion of algorithms: what everyone may know must not work as a shared secret.
    public = SCHEME.new_key_pair()[1]
    forged = signed("whsec_" + public.removeprefix("whpk_"))
    refuse(forged, "no signature matches", secret=public)


@given(st.lists(st.tuples(st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature"]), st.binary())))
def test_random_fields_raise_nothing_but_a_signature_error(fields: Fields) -> None:
    with pytest.raises(SignatureError):
        SCHEME.verify(fields, BODY, [SECRET], NOW)
