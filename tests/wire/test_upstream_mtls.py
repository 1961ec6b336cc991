"""What a service shows of itself to its targets, which key it demands of them, and files that are renewed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.backend import Backend, Connection
from tests.support.certificates import Authority
from tests.support.node import Node, running
from tests.support.rawclient import RawClient
from tests.support.strict_http import Message
from tests.support.wire import check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Ground:
    """A node before two TLS backends: one that wants certificates of our authority, one that speaks TLS 1.2 only."""

    def __init__(self, node: Node, strict: Backend, authority: Authority, shown: Path) -> None:
        self.node = node
        self.strict = strict
        self.authority = authority
        self.shown = shown

    async def ask(self, path: bytes) -> Message:
        async with await RawClient.connect(self.node.traffic) as client:
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            return await client.response()

    def subject(self) -> str:
        """Whom the last connection showed."""
        [*_, connection] = self.strict.connections
        certificate = connection.transport.get_extra_info("ssl_object").getpeercert()
        return str(dict(pair[0] for pair in certificate["subject"])["commonName"])


async def serve(context: ssl.SSLContext) -> Backend:
    backend = Backend()
    loop = asyncio.get_running_loop()
    backend._server = await loop.create_server(lambda: Connection(backend), "127.0.0.1", 0, ssl=context)
    backend.address = backend._server.sockets[0].getsockname()
    return backend


def pin(cert: str) -> str:
    key = x509.load_pem_x509_certificate(Path(cert).read_bytes()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("mtls")
    authority = Authority(folder)
    cert, key = authority.issue("127.0.0.1")
    demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    demanding.load_cert_chain(cert, key)
    demanding.load_verify_locations(authority.ca)
    demanding.verify_mode = ssl.CERT_REQUIRED
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(cert, key)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    strict, aged = await serve(demanding), await serve(old)
    strict_url, aged_url = (f"https://127.0.0.1:{backend.address[1]}" for backend in (strict, aged))
    shown = folder / "shown"
    shown.mkdir()
    for file, name in zip(authority.issue("gateway.example"), ("cert.pem", "key.pem"), strict=True):
        shutil.copy(file, shown / name)
    mine = {"cert": str(shown / "cert.pem"), "key": str(shown / "key.pem")}
    good, wrong = pin(cert), pin(authority.ca)
    services: dict[str, Any] = {
        "shown": {"targets": [strict_url], "tls": {"ca": authority.ca, **mine}},
        "hidden": {"targets": [strict_url], "tls": {"ca": authority.ca}},
        "pinned": {"targets": [aged_url], "tls": {"ca": authority.ca, "pins": [wrong, good]}},
        "wrong-pin": {"targets": [aged_url], "tls": {"ca": authority.ca, "pins": [wrong]}},
        "unverified-pin": {"targets": [aged_url], "tls": {"verify": False, "pins": [wrong]}},
        "modern": {"targets": [aged_url], "tls": {"ca": authority.ca, "minimum": "1.3"}},
    }
    routes = {name: {"match": {"path": f"/{name}"}, "service": name} for name in services}
    async with running(folder / "node", {"services": services, "routes": routes}) as node:
        yield Ground(node, strict, authority, shown)
    for backend in (strict, aged):
        assert not backend.faults, backend.faults
        await backend.stop()


async def test_a_target_that_wants_to_know_its_client_sees_our_certificate(ground: Ground) -> None:
    assert (await ground.ask(b"/shown")).status == 200
    assert ground.subject() == "gateway.example"


async def test_without_a_certificate_it_is_no_connection_for_the_client(ground: Ground) -> None:
    answer = await ground.ask(b"/hidden")
    # With TLS 1.3 a server may refuse after the handshake (RFC 8446 §4.4.2.4): then the connection just ends.
    assert (answer.status, str(check_problem(answer)["type"]).rpartition(":")[2]) in (
        (502, "upstream-closed"),
        (502, "upstream-tls"),
    )


async def test_only_a_target_with_a_pinned_key_is_sent_anything(ground: Ground) -> None:
    assert (await ground.ask(b"/pinned")).status == 200
    for path in (b"/wrong-pin", b"/unverified-pin"):
        answer = await ground.ask(path)
        document = check_problem(answer)
        assert (answer.status, str(document["type"]).rpartition(":")[2]) == (502, "upstream-tls")
        assert "tls.pins" in str(document["detail"])


async def test_an_old_version_of_tls_can_be_refused(ground: Ground) -> None:
    answer = await ground.ask(b"/modern")
    assert answer.status == 502
    # The target's alert and its close race: it is one or the other that is heard.
    assert "TLS handshake" in str(check_problem(answer)["detail"])


async def test_a_renewed_certificate_is_shown_without_a_restart(ground: Ground) -> None:
    assert (await ground.ask(b"/shown")).status == 200
    after = len(ground.node.errors)
    for file, name in zip(ground.authority.issue("renewed.example"), ("key.pem", "cert.pem")[::-1], strict=True):
        shutil.copy(file, ground.shown / "new")
        os.replace(ground.shown / "new", ground.shown / name)
    await ground.node.event("config_reloaded", after=after, within=15)
    assert (await ground.ask(b"/shown")).status == 200
    assert ground.subject() == "renewed.example"
