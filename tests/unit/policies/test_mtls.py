from __future__ import annotations

import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.support.exchanges import make_exchange
from tests.support.identity import Told, at_once, context, ec_key, slug

from gatepost.clock import ManualClock
from gatepost.config.policies.mtls import MtlsPolicy
from gatepost.exchange import Exchange
from gatepost.policies.base import SettingFault
from gatepost.policies.mtls import Mtls, build

KEY = ec_key()
NOW = datetime.datetime.fromtimestamp(ManualClock().now(), datetime.UTC)
DAY = datetime.timedelta(days=1)


def certificate(
    *common: str, begins: datetime.datetime = NOW - DAY, ends: datetime.datetime = NOW + DAY, **names: str
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    kinds = {"dns": x509.DNSName, "uri": x509.UniformResourceIdentifier, "email": x509.RFC822Name}
    if names:
        other = x509.SubjectAlternativeName([kinds[kind](value) for kind, value in names.items()])
        builder = builder.add_extension(other, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


CERTIFICATE = certificate("Ann", dns="ann.example", uri="spiffe://shop/ann", email="ann@shop.example")
FINGERPRINT = x509.load_der_x509_certificate(CERTIFICATE).fingerprint(hashes.SHA256()).hex()


def policy(ground: Any = None, **consumers: tuple[str, ...]) -> Mtls:
    return build(MtlsPolicy(consumers=consumers), ground or context())


def shown(der: bytes | None) -> Exchange:
    x, downstream = make_exchange()
    downstream.certificate = der
    return x


@pytest.mark.parametrize(
    "name",
    [
        "cn:Ann",
        "dns:ann.example",
        "dns:ANN.example",
        "uri:spiffe://shop/ann",
        "email:ann@shop.example",
        "sha256:FINGERPRINT",
        "sha256:FINGER:PRINT",
    ],
)
def test_a_certificate_names_its_consumer(name: str) -> None:
    as_openssl_does = ":".join(FINGERPRINT[at : at + 2] for at in range(0, 64, 2)).upper()
    name = name.replace("FINGERPRINT", FINGERPRINT).replace("FINGER:PRINT", as_openssl_does)
    it = policy(ann=("cn:Somebody", name))
    for _ in range(2):  # read, then remembered
        x = shown(CERTIFICATE)
        assert at_once(it, x) is None
        assert x.consumer is not None
        assert x.consumer.id == "ann"


def test_without_one_it_is_401_and_with_anybody_else_s_403() -> None:
    told = Told()
    it = policy(context(told=told), ann=("cn:Ann",), bob=("cn:Bob",), gone=("cn:Gone",))
    missing = at_once(it, shown(None))
    assert missing is not None
    assert (missing.status, slug(missing)) == (401, "certificate-missing")
    assert told.notices == []
    for der, expected in (
        (certificate("Eve"), "consumer-unknown"),
        (certificate("ann"), "consumer-unknown"),  # names of people are told apart by case
        (certificate("Ann", "Eve"), "consumer-unknown"),  # two common names are none
        (certificate("Bob"), "consumer-not-allowed"),
        (certificate("Gone"), "consumer-unknown"),
        (certificate("Eve", dns="Ann"), "consumer-unknown"),  # a name counts as what it is
    ):
        refusal = at_once(it, shown(der))
        assert refusal is not None
        assert (refusal.status, slug(refusal)) == (403, expected)
    assert len(told.notices) == 6


def test_a_certificate_that_expired_on_a_kept_connection_is_refused() -> None:
    clock = ManualClock()
    it = policy(context(clock=clock), ann=("cn:Ann",))
    assert at_once(it, shown(CERTIFICATE)) is None
    clock.advance(86_400)
    assert slug(at_once(it, shown(CERTIFICATE))) == "certificate-expired"
    early = certificate("Ann", begins=NOW + 3 * DAY, ends=NOW + 4 * DAY)
    assert slug(at_once(it, shown(early))) == "certificate-expired"
    assert slug(at_once(it, shown(b"no certificate"))) == "certificate-invalid"


def test_with_no_names_every_certificate_passes_under_its_own() -> None:
    x = shown(CERTIFICATE)
    assert at_once(policy(), x) is None
    assert x.consumer is not None
    assert x.consumer.id == "Ann"
    x = shown(certificate(uri="spiffe://x"))
    assert at_once(policy(), x) is None
    assert x.consumer is not None
    assert x.consumer.id.startswith("sha256:")


@pytest.mark.parametrize("names", [(), ("Ann",), ("cn:",), ("sha256:abc",), ("ip:1",)])
def test_names_that_are_none_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingFault):
        policy(ann=names)


def test_a_name_is_one_consumer_s() -> None:
    with pytest.raises(SettingFault, match="ann's too"):
        policy(ann=("cn:A",), bob=("cn:A",))
