"""Handshakes in memory: two contexts and two pairs of buffers, no sockets."""

import ssl
from pathlib import Path

import pytest
from tests.support.certificates import Authority, server_context

from gatepost.net.tls import TlsError, client_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=name)
    theirs = server.wrap_bio(up, down, server_side=True)
    for _ in range(5):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return ours, theirs


def test_a_listener_speaks_tls_1_3_and_http_1_1(authority: Authority) -> None:
    ours, theirs = shake(server_context(*authority.issue("a.example")), client_context(ca=authority.ca), "a.example")
    assert ours.version() == "TLSv1.3"
    assert ours.selected_alpn_protocol() == theirs.selected_alpn_protocol() == "http/1.1"


def test_tls_1_2_has_forward_secrecy(authority: Authority) -> None:
    client = client_context(ca=authority.ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    ours, _ = shake(server_context(*authority.issue("a.example")), client, "a.example")
    cipher = ours.cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE")


def test_older_versions_and_ciphers_are_refused(authority: Authority) -> None:
    server = server_context(*authority.issue("a.example"))
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(authority.ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("ECDHE-ECDSA-AES128-SHA256")  # CBC
    with pytest.raises(ssl.SSLError):
        shake(server, old, "a.example")
    assert server.minimum_version == client_context(verify=False).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("name", ["b.example", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(authority: Authority, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(*authority.issue("a.example")), client_context(ca=authority.ca), name)


def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(*authority.issue("a.example")), client_context(), "a.example")


def test_an_address_may_have_a_certificate(authority: Authority) -> None:
    shake(server_context(*authority.issue("127.0.0.1")), client_context(ca=authority.ca), "127.0.0.1")


def test_verification_can_be_turned_off(authority: Authority) -> None:
    shake(server_context(*authority.issue("a.example")), client_context(verify=False), "b.example")


def test_files_that_cannot_be_used_are_one_line_each(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("a.example")
    _, other = authority.issue("b.example")
    locked = authority.issue("c.example", password=b"secret")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("not a certificate")
    cases = [
        ((cert, str(tmp_path / "none.key")), "none.key cannot be read: No such file"),
        ((str(tmp_path), key), "cannot be read: Is a directory"),
        ((cert, other), "does not belong to the certificate"),
        (locked, "without a password"),
        ((str(rubbish), key), "are not a certificate and its key"),
        ((cert, str(rubbish)), "are not a certificate and its key"),
    ]
    for files, reason in cases:
        with pytest.raises(TlsError, match=reason) as caught:
            server_context(*files)
        assert "\n" not in str(caught.value)
    with pytest.raises(TlsError, match="holds no certificates"):
        client_context(ca=str(rubbish))
    with pytest.raises(TlsError, match="cannot be read"):
        client_context(ca=str(tmp_path / "none.pem"))
