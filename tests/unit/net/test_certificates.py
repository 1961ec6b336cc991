"""Certificates by name, replaced while they serve. Handshakes in memory, no sockets."""

from __future__ import annotations

import datetime
import os
import ssl
from pathlib import Path

import pytest
from tests.support.certificates import Authority

from gatepost.config.schema import Certificate, Tls
from gatepost.net.certificates import Certificates
from gatepost.net.tls import TlsError, client_context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Talk:
    """A handshake and what follows of it, until neither side has anything to say."""

    def __init__(
        self, server: Certificates, client: ssl.SSLContext, name: str | None, session: ssl.SSLSession | None = None
    ) -> None:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(down, up, server_hostname=name, session=session)
        self.server = server.context.wrap_bio(up, down, server_side=True)
        for _ in range(4):
            for side in (self.client, self.server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        # In TLS 1.3 a refused client learns of it, and gets its tickets, when it first reads.
        self.server.write(b"x")
        assert self.client.read(1) == b"x"

    @property
    def shown(self) -> set[str]:
        found = self.client.getpeercert()
        assert found is not None
        return {str(value) for _, value in found.get("subjectAltName", ())}  # type: ignore[misc]


def certificates(authority: Authority, default: str, *others: str) -> Certificates:
    further = tuple(Certificate(cert=cert, key=key) for cert, key in map(authority.issue, others))
    cert, key = authority.issue(default)
    return Certificates(Tls(cert=cert, key=key, certificates=further))


def trusting(authority: Authority) -> ssl.SSLContext:
    context = client_context(ca=authority.ca)
    context.check_hostname = False
    return context


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("b.example", "b.example"),
        ("B.Example", "b.example"),
        ("x.wild.example", "*.wild.example"),
        ("exact.wild.example", "exact.wild.example"),
        ("x.y.wild.example", "a.example"),  # RFC 6125 §6.4.3: a wildcard is one label
        ("wild.example", "a.example"),
        ("unknown.example", "a.example"),
        ("example", "a.example"),
        (None, "a.example"),
    ],
)
def test_the_name_that_a_client_asks_for_chooses(authority: Authority, asked: str | None, shown: str) -> None:
    server = certificates(authority, "a.example", "b.example", "*.wild.example", "exact.wild.example")
    assert Talk(server, trusting(authority), asked).shown == {shown}


def test_a_certificate_for_several_names_is_shown_for_each(authority: Authority) -> None:
    cert, key = authority.issue("a.example")
    more = Certificate(**dict(zip(("cert", "key"), authority.issue("b.example", "c.example"), strict=True)))
    server = Certificates(Tls(cert=cert, key=key, certificates=(more,)))
    for name in ("b.example", "c.example"):
        assert Talk(server, client_context(ca=authority.ca), name).shown == {"b.example", "c.example"}


def test_of_two_for_one_name_the_first_is_shown(authority: Authority, tmp_path: Path) -> None:
    other = Authority(_folder(tmp_path / "other"))
    cert, key = authority.issue("a.example")
    twin = Certificate(**dict(zip(("cert", "key"), other.issue("a.example"), strict=True)))
    Talk(Certificates(Tls(cert=cert, key=key, certificates=(twin,))), client_context(ca=authority.ca), "a.example")


def test_a_further_certificate_without_a_name_is_refused(authority: Authority) -> None:
    cert, key = authority.issue("a.example")
    nameless = Certificate(cert=authority.ca, key=authority.key_file())
    with pytest.raises(TlsError, match="names no host"):
        Certificates(Tls(cert=cert, key=key, certificates=(nameless,)))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_also_after_a_renewal(authority: Authority, version: ssl.TLSVersion) -> None:
    server = certificates(authority, "a.example", "b.example")
    client = client_context(ca=authority.ca)
    client.minimum_version = client.maximum_version = version
    first = Talk(server, client, "b.example")
    assert not first.client.session_reused
    authority.issue("b.example")
    assert looked(server)
    server.renew()
    again = Talk(server, client, "b.example", first.client.session)
    assert again.client.session_reused


# Renewal.


def looked(server: Certificates) -> bool:
    """Whether a change is seen, given that files stand still."""
    server.changed()
    return server.changed()


def test_a_renewed_certificate_is_shown_from_the_next_handshake_on(authority: Authority) -> None:
    server = certificates(authority, "a.example", "b.example")
    before = {each.fingerprint for each in server.certificates}
    assert not looked(server)
    authority.issue("b.example")
    assert not server.changed()  # it may still be written to
    assert server.changed()
    (renewed,), faults = server.renew()
    assert not faults
    assert renewed.names == ("b.example",)
    assert renewed.fingerprint not in before
    assert Talk(server, client_context(ca=authority.ca), "b.example").shown == {"b.example"}
    assert not looked(server)


def test_half_a_pair_keeps_the_old_one_and_is_looked_at_again(authority: Authority) -> None:
    server = certificates(authority, "a.example", "b.example")
    context = client_context(ca=authority.ca)
    old = server.certificates
    cert, key = (Path(file) for file in authority.issue("b.example"))
    whole, new_key = cert.read_bytes(), key.read_bytes()
    cert.write_bytes(whole[:100])
    assert looked(server)
    renewed, (fault,) = server.renew()
    assert renewed == []
    assert str(cert) in str(fault)
    assert server.certificates == old
    Talk(server, context, "b.example")
    assert not looked(server)  # told once
    other = authority.issue("c.example")[1]
    cert.write_bytes(whole)
    key.write_bytes(Path(other).read_bytes())
    assert looked(server)
    renewed, (fault,) = server.renew()
    assert "does not belong" in str(fault)
    assert server.certificates == old
    key.unlink()
    assert looked(server)
    assert "cannot be read" in str(server.renew()[1][0])
    Talk(server, context, "b.example")
    key.write_bytes(new_key)
    assert looked(server)
    renewed, faults = server.renew()
    assert (len(renewed), faults) == (1, [])
    assert server.certificates != old


def test_one_wrong_pair_does_not_hold_up_another(authority: Authority) -> None:
    server = certificates(authority, "a.example", "b.example")
    authority.issue("a.example")
    Path(authority.issue("b.example")[1]).write_text("no key")
    assert looked(server)
    renewed, faults = server.renew()
    assert [each.names for each in renewed] == [("a.example",)]
    assert len(faults) == 1


def test_what_is_read_for_a_reload_changes_nothing_before_it_is_shown(authority: Authority) -> None:
    server = certificates(authority, "a.example")
    cert, key = authority.issue("b.example")
    shown = server.read(Tls(cert=cert, key=key))
    assert Talk(server, trusting(authority), "b.example").shown == {"a.example"}
    server.show(shown)
    assert Talk(server, trusting(authority), "b.example").shown == {"b.example"}


def test_a_reload_takes_no_pair_that_renewing_has_refused(authority: Authority) -> None:
    cert, key = authority.issue("a.example")
    tls = Tls(cert=cert, key=key)
    server = Certificates(tls)
    Path(key).write_text("no key")
    looked(server)
    server.renew()
    with pytest.raises(TlsError):
        server.read(tls)


# Client certificates.


@pytest.fixture
def clients(tmp_path: Path) -> Authority:
    return Authority(_folder(tmp_path / "clients"))


def asking(authority: Authority, clients: Authority, auth: str | None) -> Certificates:
    cert, key = authority.issue("a.example")
    return Certificates(Tls(cert=cert, key=key, client_ca=clients.ca, client_auth=auth))  # type: ignore[arg-type]


def showing(authority: Authority, by: Authority) -> ssl.SSLContext:
    context = client_context(ca=authority.ca)
    context.load_cert_chain(*by.issue("client-7"))
    return context


@pytest.mark.parametrize("auth", ["required", "optional", None])
def test_a_client_certificate_is_known_once_its_chain_is_verified(
    authority: Authority, clients: Authority, auth: str | None
) -> None:
    talk = Talk(asking(authority, clients, auth), showing(authority, clients), "a.example")
    der = talk.server.getpeercert(binary_form=True)
    assert der == ssl.PEM_cert_to_DER_cert((Path(clients.ca).parent / "client-7.crt").read_text())


@pytest.mark.parametrize("auth", ["required", "optional"])
def test_a_client_certificate_of_another_authority_is_refused(
    authority: Authority, clients: Authority, auth: str
) -> None:
    with pytest.raises(ssl.SSLError):
        Talk(asking(authority, clients, auth), showing(authority, authority), "a.example")


def test_a_client_certificate_that_is_over_is_refused(authority: Authority, clients: Authority) -> None:
    context = client_context(ca=authority.ca)
    context.load_cert_chain(*clients.issue("late", until=datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)))
    with pytest.raises(ssl.SSLError):
        Talk(asking(authority, clients, "optional"), context, "a.example")


def test_a_client_without_a_certificate_is_refused_where_it_is_required(
    authority: Authority, clients: Authority
) -> None:
    with pytest.raises(ssl.SSLError):
        Talk(asking(authority, clients, None), client_context(ca=authority.ca), "a.example")
    talk = Talk(asking(authority, clients, "optional"), client_context(ca=authority.ca), "a.example")
    assert talk.server.getpeercert(binary_form=True) is None


def test_an_authority_that_was_replaced_is_trusted_no_longer(
    authority: Authority, clients: Authority, tmp_path: Path
) -> None:
    server = asking(authority, clients, "required")
    old = showing(authority, clients)
    Talk(server, old, "a.example")
    newer = Authority(_folder(tmp_path / "newer"))
    os.replace(newer.ca, clients.ca)
    assert looked(server)
    assert server.renew()[1] == []
    Talk(server, showing(authority, newer), "a.example")
    with pytest.raises(ssl.SSLError):
        Talk(server, old, "a.example")


def test_who_shows_a_certificate_shows_it_anew_with_every_connection(authority: Authority, clients: Authority) -> None:
    server = asking(authority, clients, "required")
    client = showing(authority, clients)
    first = Talk(server, client, "a.example")
    assert not Talk(server, client, "a.example", first.client.session).client.session_reused


def test_a_session_of_tls_1_2_ends_with_the_trust_in_its_authority(
    authority: Authority, clients: Authority, tmp_path: Path
) -> None:
    server = asking(authority, clients, "required")
    client = showing(authority, clients)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    # Both are kept: a connection that is lost without a goodbye takes its session along.
    first = Talk(server, client, "a.example")
    second = Talk(server, client, "a.example", first.client.session)
    assert second.client.session_reused
    os.replace(Authority(_folder(tmp_path / "newer")).ca, clients.ca)
    assert looked(server)
    server.renew()
    for session, reason in ((first.client.session, "CALLBACK_FAILED"), (None, "UNKNOWN_CA|VERIFY_FAILED")):
        with pytest.raises(ssl.SSLError, match=reason):
            Talk(server, client, "a.example", session)


def test_an_authority_that_is_none_is_one_line(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("a.example")
    (tmp_path / "rubbish.pem").write_text("rubbish")
    with pytest.raises(TlsError, match="holds no certificates"):
        Certificates(Tls(cert=cert, key=key, client_ca=str(tmp_path / "rubbish.pem")))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
