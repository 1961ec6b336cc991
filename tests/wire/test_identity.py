"""Who may call, over the wire: real sockets, a real issuer, real certificates."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Exchange
from tests.support.certificates import Authority
from tests.support.identity import ed_key, jwk, pem, rsa_key, token
from tests.support.node import Node, address, free_port
from tests.support.rawclient import soon
from tests.support.strict_http import Message

from gatepost.http1.messages import Fields
from gatepost.policies.logins import hash_password
from gatepost.signatures.digest import content_digest
from gatepost.signatures.http_message import Message as Signable
from gatepost.signatures.http_message import component, sign, signing_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY, OTHER, ED = rsa_key(), rsa_key(), ed_key()
PROXY = "127.0.0.2"  # trusted to say who its client is; 127.0.0.1 is not
HOOK = b"a hook's secret"


class Front:
    """A node with a route a policy, its service, which is the issuer of its tokens too, and clients of it."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        (folder / "clients").mkdir()
        self.clients = Authority(folder / "clients")
        self.authority = Authority(folder)
        cert, key = self.authority.issue("localhost")
        self.backend = backend
        self.arrived: list[Message] = []
        self.https = ("127.0.0.1", free_port())
        self.node = Node(folder / "node", {})
        policies = {
            "near": {"ip": {"allow": ["192.0.2.0/24"]}},
            "far": {"ip": {"deny": ["127.0.0.1"]}},
            "basic": {"basic": {}},
            "jwt": {
                "jwt": {"algorithms": ["RS256"], "jwks_url": f"{backend.url}/jwks", "headers": {"X-User": "sub"}},
            },
            "opaque": {
                "oauth2_introspection": {"url": f"{backend.url}/introspect", "client_id": "a", "client_secret": "b"},
            },
            "signed": {"http_signature": {"keys": {"k": {"algorithm": "ed25519", "public_key": pem(ED)}}}},
            "hook": {"webhook_signature": {"github": {"secret": HOOK.decode()}}},
            "mtls": {"mtls": {"consumers": {"ann": ["dns:client-7"]}}},
        }
        self.node.write(
            {
                "listen": {
                    "traffic": [
                        address(self.node.traffic),
                        {
                            "address": address(self.https),
                            "tls": {"cert": cert, "key": key, "client_ca": self.clients.ca, "client_auth": "optional"},
                        },
                    ],
                    "control": address(self.node.control),
                },
                "trusted_proxies": [f"{PROXY}/32"],
                "services": {"main": {"targets": [backend.url]}},
                "routes": {
                    name: {"match": {"path": f"/{name}"}, "service": "main", "policies": [use]}
                    for name, use in policies.items()
                },
                "consumers": {"ann": {"basic": [{"username": "ann", "argon2": hash_password("pass:word")}]}},
            }
        )

    async def answer(self, x: Exchange) -> None:
        body = await x.body()
        said: object = {"keys": [jwk(KEY, kid="one")]}
        if x.target == b"/introspect":
            said = {"active": b"token=good&" in body, "sub": "ann"}
        elif x.target != b"/jwks":
            self.arrived.append(x.message)
            said = {}
        data = json.dumps(said).encode()
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))

    async def ask(
        self, path: str, *fields: tuple[bytes, bytes], body: bytes = b"", proxy: bool = False, chunked: bool = False
    ) -> int:
        """The status of the answer."""
        local = (PROXY, 0) if proxy else None
        opening = asyncio.open_connection(*self.node.traffic, local_addr=local)
        return await self._ask(await soon(opening, "a connection"), path, fields, body, chunked=chunked)

    async def ask_https(self, path: str, client: Authority | None) -> int:
        context = ssl.create_default_context(cafile=self.authority.ca)
        if client is not None:
            context.load_cert_chain(*client.issue("client-7"))
        opening = asyncio.open_connection(*self.https, ssl=context, server_hostname="localhost")
        return await self._ask(await soon(opening, "a handshake"), path, (), b"", chunked=False)

    async def _ask(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        path: str,
        fields: tuple[tuple[bytes, bytes], ...],
        body: bytes,
        *,
        chunked: bool,
    ) -> int:
        reader, writer = streams
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        framing, sent = b"Content-Length: %d" % len(body), body
        if chunked:
            framing = b"Transfer-Encoding: chunked"
            sent = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        head = b"POST /%b HTTP/1.1\r\nHost: front.test\r\nConnection: close\r\n%b%b\r\n\r\n"
        writer.write(head % (path.encode(), lines, framing) + sent)
        data = await soon(reader.read(), "an answer")
        writer.close()
        return int(data[9:12])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    backend = Backend()
    await backend.start()
    front = Front(tmp_path_factory.mktemp("identity"), backend)
    backend.script = front.answer
    await front.node.start()
    yield front
    front.node.kill()
    await front.node.exit_code()
    await backend.stop()
    assert not front.node.tracebacks


SPOOFS: list[Fields] = [
    [(b"X-Forwarded-For", b"192.0.2.1")],
    [(b"X-Real-IP", b"192.0.2.1")],
    [(b"Forwarded", b"for=192.0.2.1")],
    [(b"X-Forwarded-For", b"192.0.2.1, 192.0.2.2"), (b"X-Real-IP", b"192.0.2.1"), (b"Forwarded", b"for=192.0.2.1")],
]


@pytest.mark.parametrize("fields", SPOOFS)
async def test_what_a_stranger_says_of_its_address_changes_nothing(front: Front, fields: Fields) -> None:
    assert await front.ask("near", *fields) == 403
    assert await front.ask("far", *fields) == 403


async def test_what_a_trusted_proxy_says_counts(front: Front) -> None:
    assert await front.ask("near", (b"X-Forwarded-For", b"192.0.2.1"), proxy=True) == 200
    assert await front.ask("near", (b"X-Forwarded-For", b"198.51.100.1"), proxy=True) == 403
    assert await front.ask("near", (b"X-Forwarded-For", b"192.0.2.1, 198.51.100.1"), proxy=True) == 403
    assert await front.ask("near", proxy=True) == 403
    assert await front.ask("far", (b"X-Forwarded-For", b"127.0.0.1"), proxy=True) == 403
    assert await front.ask("far", (b"X-Forwarded-For", b"192.0.2.1"), proxy=True) == 200


async def test_a_password_is_checked_beside_the_traffic_and_goes_no_further(front: Front) -> None:
    login = b"Basic " + base64.b64encode(b"ann:pass:word")
    for _ in range(2):  # in a thread, then from memory
        assert await front.ask("basic", (b"Authorization", login), (b"X-Other", b"1")) == 200
        assert front.arrived[-1].get(b"authorization") is None
        assert front.arrived[-1].get(b"x-other") == b"1"
    wrong = b"Basic " + base64.b64encode(b"ann:password")
    assert await asyncio.gather(*(front.ask("basic", (b"Authorization", wrong)) for _ in range(4))) == [401] * 4
    assert await front.ask("basic") == 401


async def test_keys_come_from_the_issuer(front: Front) -> None:
    claims = {"sub": "ann", "exp": time.time() + 60}
    good = b"Bearer " + token(KEY, "RS256", claims, kid="one")
    answers = await asyncio.gather(
        *(front.ask("jwt", (b"Authorization", good), (b"X-User", b"root")) for _ in range(5))
    )
    assert answers == [200] * 5
    assert front.arrived[-1].get(b"authorization") == good
    assert front.arrived[-1].get(b"x-user") == b"ann"
    for bad in (
        token(OTHER, "RS256", claims, kid="one"),
        token(OTHER, "RS256", claims, kid="two"),
        token(KEY, "RS256", {"sub": "ann", "exp": 1}, kid="one"),
    ):
        assert await front.ask("jwt", (b"Authorization", b"Bearer " + bad)) == 401


async def test_the_issuer_is_asked_about_an_opaque_token(front: Front) -> None:
    assert await front.ask("opaque", (b"Authorization", b"Bearer good")) == 200
    assert await front.ask("opaque", (b"Authorization", b"Bearer bad")) == 401


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_signed_request_and_its_body(front: Front, chunked: bool) -> None:
    body = b'{"amount": 1}'
    covered = [component(name) for name in ("@method", "@authority", "@path", "@query", "content-digest")]
    fields: Fields = [content_digest(body)]
    message = Signable("POST", "http", "front.test", b"/signed", fields)
    signature = sign(message, signing_key("ed25519", ED), covered, {"created": int(time.time()), "keyid": "k"})
    assert await front.ask("signed", *fields, *signature, body=body, chunked=chunked) == 200
    assert bytes(front.arrived[-1].body) == body
    assert await front.ask("signed", *fields, *signature, body=body + b" ", chunked=chunked) == 401
    assert await front.ask("signed?x=1", *fields, *signature, body=body, chunked=chunked) == 401


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_webhook_is_proxied_with_the_body_that_was_signed(front: Front, chunked: bool) -> None:
    body = b'{"action": "opened"}'
    signature = (b"X-Hub-Signature-256", b"sha256=" + hmac.digest(HOOK, body, "sha256").hex().encode())
    assert await front.ask("hook", signature, body=body, chunked=chunked) == 200
    assert bytes(front.arrived[-1].body) == body
    assert await front.ask("hook", signature, body=body[:-1], chunked=chunked) == 401
    assert await front.ask("hook", body=body, chunked=chunked) == 401


async def test_a_client_certificate_says_who_calls(front: Front) -> None:
    assert await front.ask_https("mtls", front.clients) == 200
    assert await front.ask_https("mtls", None) == 401
    assert await front.ask("mtls") == 401
