"""RFC 9421: the vectors of its appendix, and what a signature base must never be made of."""

from __future__ import annotations

from base64 import b64decode

import pytest
from tests.support.identity import ec_key, ed_key, rsa_key

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.signatures.algorithms import PrivateKey, PublicKey, private_key, public_key
from gatepost.signatures.digest import check_digest, content_digest
from gatepost.signatures.http_message import (
    ALGORITHMS,
    Component,
    Message,
    component,
    sign,
    signature_base,
    signatures,
    signing_key,
    verify,
    verifying_key,
)

# Appendix B.1.
RSA_PSS = public_key("""-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----""")
ECC = public_key("""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----""")
ED = public_key("""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----""")
ED_PRIVATE = private_key("""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----""")
SECRET = b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")

# Appendix B.2.
DIGEST = b"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
RESPONSE_DIGEST = b"sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:"
BODY = b'{"hello": "world"}'
REQUEST = Message(
    "POST",
    "https",
    "example.com",
    b"/foo?param=Value&Pet=dog",
    [
        (b"host", b"example.com"),
        (b"date", b"Tue, 20 Apr 2021 02:07:55 GMT"),
        (b"content-type", b"application/json"),
        (b"content-digest", DIGEST),
        (b"content-length", b"18"),
    ],
)
RESPONSE = Message(
    "",
    "",
    "",
    b"",
    [
        (b"date", b"Tue, 20 Apr 2021 02:07:56 GMT"),
        (b"content-type", b"application/json"),
        (b"content-digest", RESPONSE_DIGEST),
        (b"content-length", b"23"),
    ],
    200,
)
CLIENT_CERT = (
    b":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVk"
    b"aWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnX"
    b"XfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSME"
    b"GDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4"
    b"YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmu"
    b"ydBVoU4hBVZ1yhk=:"
)
BEHIND_A_PROXY = REQUEST._replace(
    authority="service.internal.example", fields=[*REQUEST.fields, (b"client-cert", CLIENT_CERT)]
)

VECTORS = {
    "B.2.1": (
        REQUEST,
        "rsa-pss-sha512",
        RSA_PSS,
        'sig-b21=();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"',
        "sig-b21=:d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzX"
        "aJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0"
        "mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Ny"
        "t8C8ssinQ98Xw9Q==:",
    ),
    "B.2.2": (
        REQUEST,
        "rsa-pss-sha512",
        RSA_PSS,
        'sig-b22=("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss"'
        ';tag="header-example"',
        "sig-b22=:LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowO"
        "B4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7"
        "Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/"
        "XaVe4bXTugEjHSw==:",
    ),
    "B.2.3": (
        REQUEST,
        "rsa-pss-sha512",
        RSA_PSS,
        'sig-b23=("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length")'
        ';created=1618884473;keyid="test-key-rsa-pss"',
        "sig-b23=:bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768Zr"
        "CUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CC"
        "oC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5f"
        "TIztsDZKEgM4cUA==:",
    ),
    "B.2.4": (
        RESPONSE,
        "ecdsa-p256-sha256",
        ECC,
        'sig-b24=("@status" "content-type" "content-digest" "content-length");created=1618884473'
        ';keyid="test-key-ecc-p256"',
        "sig-b24=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==:",
    ),
    "B.2.5": (
        REQUEST,
        "hmac-sha256",
        SECRET,
        'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
        "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
    ),
    "B.2.6": (
        REQUEST,
        "ed25519",
        ED,
        'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473'
        ';keyid="test-key-ed25519"',
        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
    ),
    "B.3": (
        BEHIND_A_PROXY,
        "ecdsa-p256-sha256",
        ECC,
        'ttrp=("@path" "@query" "@method" "@authority" "client-cert");created=1618884473;keyid="test-key-ecc-p256"',
        "ttrp=:xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==:",
    ),
}


def signed_fields(signature_input: str, signature: str) -> Fields:
    return [(b"signature-input", signature_input.encode()), (b"signature", signature.encode())]


@pytest.mark.parametrize("section", VECTORS)
def test_the_vectors_of_the_appendix_verify(section: str) -> None:
    message, algorithm, key, given, signature = VECTORS[section]
    (one,) = signatures([*message.fields, *signed_fields(given, signature)])
    assert given == f"{one.label}={signature_base(message, one.components, one.parameters).decode().split(': ')[-1]}"
    verify(message, one, verifying_key(algorithm, key))
    with pytest.raises(SignatureError, match="wrong"):
        verify(message, one._replace(parameters={**one.parameters, "created": 1}), verifying_key(algorithm, key))


@pytest.mark.parametrize("section", ["B.2.2", "B.2.3", "B.2.4", "B.2.5", "B.2.6", "B.3"])
def test_a_changed_message_does_not_verify(section: str) -> None:
    message, algorithm, key, given, signature = VECTORS[section]
    (one,) = signatures(signed_fields(given, signature))
    for at, (name, value) in enumerate(message.fields):
        if one.covers(Component(name.decode())):
            others = message.fields[:at] + message.fields[at + 1 :]
            changed = message._replace(fields=[*others, (name, value + b"x")])
            with pytest.raises(SignatureError, match="wrong"):
                verify(changed, one, verifying_key(algorithm, key))


def test_hmac_and_ed25519_make_the_very_signatures_of_the_appendix() -> None:
    keys: dict[str, PrivateKey] = {"B.2.5": SECRET, "B.2.6": ED_PRIVATE}
    for section, key in keys.items():
        message, algorithm, _, given, signature = VECTORS[section]
        (one,) = signatures(signed_fields(given, signature))
        made = sign(message, signing_key(algorithm, key), one.components, one.parameters, one.label)
        assert made == signed_fields(given, signature)


def test_the_base_is_that_of_section_2_5() -> None:
    covered = ["@method", "@authority", "@path", "content-digest", "content-length", "content-type"]
    base = signature_base(REQUEST, [component(name) for name in covered], {"created": 1618884473, "keyid": "k"})
    assert base.decode().split("\n") == [
        '"@method": POST',
        '"@authority": example.com',
        '"@path": /foo',
        f'"content-digest": {DIGEST.decode()}',
        '"content-length": 18',
        '"content-type": application/json',
        '"@signature-params": ("@method" "@authority" "@path" "content-digest" "content-length" "content-type")'
        ';created=1618884473;keyid="k"',
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_signed_verifies(algorithm: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    private: PrivateKey = {
        "hmac-sha256": SECRET,
        "ed25519": ed_key(),
        "ecdsa-p256-sha256": ec_key(),
        "ecdsa-p384-sha384": ec_key(ec.SECP384R1()),
    }.get(algorithm) or rsa_key()  # type: ignore[assignment]
    public: PublicKey = private if isinstance(private, bytes) else private.public_key()
    made = sign(REQUEST, signing_key(algorithm, private), [component("@target-uri")], {"created": 1, "keyid": "a b"})
    (one,) = signatures(made)
    verify(REQUEST, one, verifying_key(algorithm, public))
    assert (one.key_id, one.number("created"), one.label) == ("a b", 1, "sig1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("@target-uri", "https://example.com/foo?param=Value&Pet=dog"),
        ("@scheme", "https"),
        ("@request-target", "/foo?param=Value&Pet=dog"),
        ("@query", "?param=Value&Pet=dog"),
        ('@query-param;name="Pet"', "dog"),
        ("content-digest;bs", ":" + "c2hhLTUxMj06V1pEUGFWbi83WGdIYUF5OHBtb2pBa0dXb1J4MlVGQ2hGNDFBMnN2WCtUYVBtK0Fid0FnQl"
         "ducklpWWxsdTdCTk55ZWFsZFZMdlJ3RW1USFdYdkp3ZXc9PTo=" + ":"),
        ('content-digest;key="sha-512"', DIGEST.decode().partition("=")[2]),
    ],
)  # fmt: skip
def test_components(text: str, value: str) -> None:
    base = signature_base(REQUEST, [component(text)], {}).decode()
    assert base.partition("\n")[0].partition(": ")[2] == value


def test_fields_are_joined_and_trimmed_as_section_2_1_says() -> None:
    message = REQUEST._replace(fields=[(b"x-a", b" 1 "), (b"x-b", b""), (b"x-a", b"2\t")])
    lines = signature_base(message, [component("x-a"), component("x-b")], {}).decode().split("\n")
    assert lines[:2] == ['"x-a": 1, 2', '"x-b": ']


@pytest.mark.parametrize(
    ("authority", "scheme", "expected"),
    [
        ("Example.com:443", "https", "example.com"),
        ("a:80", "http", "a"),
        ("a:80", "https", "a:80"),
        ("[::1]:8", "http", "[::1]:8"),
    ],
)
def test_the_authority_is_normalised(authority: str, scheme: str, expected: str) -> None:
    message = REQUEST._replace(authority=authority, scheme=scheme)
    assert signature_base(message, [component("@authority")], {}).decode().startswith(f'"@authority": {expected}\n')


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        (b"var=this%20is%20a%20big%0Amultiline%20value", "var", "this%20is%20a%20big%0Amultiline%20value"),
        (b"bar=with+plus+whitespace", "bar", "with%20plus%20whitespace"),
        (b"fa%C3%A7ade%22%3A%20=something", "fa%C3%A7ade%22%3A%20", "something"),
        (b"qux=", "qux", ""),
        (b"t=~", "t", "%7E"),
    ],
)
def test_query_parameters_as_section_2_2_8_encodes_them(query: bytes, name: str, value: str) -> None:
    message = REQUEST._replace(target=b"/path?" + query)
    base = signature_base(message, [Component("@query-param", {"name": name})], {}).decode()
    assert base.startswith(f'"@query-param";name="{name}": {value}\n')


@pytest.mark.parametrize(
    ("message", "components", "reason"),
    [
        (REQUEST, ["x-none"], "not there"),
        (REQUEST, ["date", "date"], "covered twice"),
        (REQUEST, ["@status"], "no @status"),
        (RESPONSE, ["@method"], "covered by a response"),
        (REQUEST, ['@query-param;name="none"'], "exactly once"),
        (REQUEST._replace(target=b"/?a=1&a=2"), ['@query-param;name="a"'], "exactly once"),
        (REQUEST, ['content-digest;key="md5"'], "no such member"),
        (REQUEST, ['date;key="a"'], "malformed"),
        (REQUEST._replace(fields=[(b"x", b'1\n"@method": GET')]), ["x"], "line end"),
    ],
)
def test_no_base_is_made_of(message: Message, components: list[str], reason: str) -> None:
    with pytest.raises(SignatureError, match=reason):
        signature_base(message, [component(text) for text in components], {})


@pytest.mark.parametrize(
    "text",
    ["Date", "@signature-params", "@unknown", "date;sf", "date;tr", "@method;req", "@query-param", "a b", "", '"a"'],
)
def test_components_that_are_not_known_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="component"):
        component(text)
    if text.isascii() and '"' not in text and ";" not in text:
        with pytest.raises(SignatureError, match="component"):
            signatures(signed_fields(f'a=("{text}");created=1', "a=:AA==:"))


@pytest.mark.parametrize(
    "fields",
    [
        [(b"signature", b"a=:AA==:")],
        [(b"signature-input", b"a=()")],
        signed_fields("a=()", "b=:AA==:"),
        signed_fields("a=(", "a=:AA==:"),
        signed_fields("a=1", "a=:AA==:"),
        signed_fields("a=(date)", "a=:AA==:"),
        signed_fields("a=()", "a=1"),
        signed_fields("a=()", "a=(:AA==:)"),
        signed_fields("a=()", "a=:A:"),
        signed_fields("a=() b", "a=:AA==:"),
        signed_fields("a=(),", "a=:AA==:"),
        signed_fields(", ".join(f"a{n}=()" for n in range(20)), ", ".join(f"a{n}=:AA==:" for n in range(20))),
        signed_fields("a=(" + " ".join(f'"x{n}"' for n in range(100)) + ")", "a=:AA==:"),
        signed_fields("a=()" + " " * 20_000, "a=:AA==:"),
    ],
)
def test_malformed_fields_are_no_signature(fields: Fields) -> None:
    with pytest.raises(SignatureError):
        signatures(fields)


def test_times_must_be_whole_numbers() -> None:
    for text in ("created=1.5", 'created="1"', "created", "created=?1"):
        (one,) = signatures(signed_fields(f"a=();{text}", "a=:AA==:"))
        with pytest.raises(SignatureError, match="whole number"):
            one.number("created")


def test_content_digest_is_that_of_the_body() -> None:
    check_digest([(b"content-digest", DIGEST)], BODY)
    for algorithm in ("sha-256", "sha-512"):
        check_digest([content_digest(BODY, algorithm)], BODY)
    sha256 = content_digest(BODY)[1]
    check_digest([(b"content-digest", b"md5=:AAAA:, " + sha256)], BODY)
    for value, reason in (
        (DIGEST, "not that of the body"),
        (sha256 + b", sha-512=:AAAA:", "not that of the body"),  # every one that we can make must fit
        (b"md5=:AAAA:", "neither"),
        (b"sha-256=AAAA", "not that of the body"),
        (b"sha-256=(:AAAA:)", "not that of the body"),
        (b"", "neither"),
    ):
        with pytest.raises(SignatureError, match=reason):
            check_digest([(b"content-digest", value)], BODY + b" ")
    with pytest.raises(SignatureError, match="missing"):
        check_digest([], BODY)
