"""Webhooks on the wire: how they are signed, what shows receivers who we are, which way they leave. On both loops."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook
from tests.support.backend import Backend, Exchange
from tests.support.certificates import Authority
from tests.support.rawclient import soon
from tests.wire.test_webhook_destination import Wire

from gatepost.config.schema import EgressProxy
from gatepost.destinations.base import Result
from gatepost.model import (
    Basic,
    Batching,
    Bearer,
    ClientCertificate,
    ClientCredentials,
    EndpointSettings,
    Secret,
    Signing,
)
from gatepost.net.tls import client_context
from gatepost.signatures import STANDARD_WEBHOOKS
from gatepost.signatures.digest import check_digest
from gatepost.signatures.http_message import Message, signatures, verify, verifying_key
from gatepost.signatures.standard_webhooks import symmetric_of

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
BODY = b'{"event":"new_order"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def conversation(**wire: Any) -> Callable[[Callable[[Wire], Awaitable[None]]], Callable[[str], None]]:
    def decorate(test: Callable[[Wire], Awaitable[None]]) -> Callable[[str], None]:
        async def main() -> None:
            async with Wire(**wire) as made:
                await test(made)

        @pytest.mark.parametrize("loop", LOOPS)
        def runs(loop: str) -> None:
            with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                runner.run(main())

        functools.update_wrapper(runs, test, assigned=("__name__", "__qualname__", "__doc__", "__module__"))
        del runs.__wrapped__  # type: ignore[attr-defined]  # pytest would read its arguments
        return runs

    return decorate


async def sent(
    wire: Wire, body: bytes = BODY, *, secrets: tuple[Secret, ...] = (Secret(NEW),), **settings: Any
) -> Result:
    return await wire.send(body=body, secrets=secrets, settings=EndpointSettings(**settings))


async def fields_of(wire: Wire, number: int = 0) -> dict[str, str]:
    request = (await wire.receiver.request(number)).message
    return {name.decode(): value.decode() for name, value in request.fields}


# signatures


@conversation()
async def test_while_secrets_rotate_both_sign_and_an_expired_one_no_more(wire: Wire) -> None:
    assert (await sent(wire, secrets=(Secret(NEW), Secret(OLD, 4e9), Secret("whsec_" + "A" * 40, 1.0)))).ok
    fields = await fields_of(wire)
    assert len(fields["webhook-signature"].split()) == 2
    for secret in (NEW, OLD):
        Webhook(secret).verify(BODY, fields)


@conversation()
async def test_a_private_key_signs_v1a(wire: Wire) -> None:
    private, public = STANDARD_WEBHOOKS.new_key_pair()
    assert (await sent(wire, secrets=(Secret(private),))).ok
    fields = await fields_of(wire)
    version, _, signature = fields["webhook-signature"].partition(",")
    assert version == "v1a"
    content = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.".encode() + BODY
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    key.verify(base64.b64decode(signature), content)


@conversation()
async def test_an_endpoint_has_the_names_it_asks_for(wire: Wire) -> None:
    assert (await sent(wire, signing=Signing(svix=True))).ok
    assert (await sent(wire, signing=Signing(prefix="acme-hook"))).ok
    both, own = await fields_of(wire, 0), await fields_of(wire, 1)
    for end in ("id", "timestamp", "signature"):
        assert both[f"svix-{end}"] == both[f"webhook-{end}"]
    Webhook(NEW).verify(BODY, {f"webhook-{end}": own[f"acme-hook-{end}"] for end in ("id", "timestamp", "signature")})
    assert not [name for name in own if name.startswith(("webhook-", "svix-"))]


@conversation()
async def test_a_header_of_the_endpoints_cannot_stand_beside_its_signature(wire: Wire) -> None:
    headers = {"acme-id": "x", "acme-tenant": "y", "signature": "z", "svix-id": "w", "X-Plain": "1"}
    settings = EndpointSettings(signing=Signing(prefix="acme"))
    assert (await wire.send(headers=headers, settings=settings)).ok
    request = (await wire.receiver.request()).message
    names = [name for name, _ in request.fields]
    assert names.count(b"acme-id") == 1
    assert b"x-plain" in names
    assert not {b"acme-tenant", b"signature", b"svix-id"} & set(names)


@conversation()
async def test_a_prefix_that_is_none_fails_with_a_reason(wire: Wire) -> None:
    for prefix in ("content", "Acme", "a b", "x\r\nevil: 1", ""):
        result = await sent(wire, signing=Signing(prefix=prefix))
        assert result.status == 0
        assert "header" in result.error or "HTTP itself" in result.error
    assert wire.receiver.requests == []


@conversation()
async def test_rfc_9421_covers_method_url_type_and_body(wire: Wire) -> None:
    assert (await sent(wire, secrets=(Secret(NEW), Secret(OLD, 4e9)), signing=Signing(http_signature=True))).ok
    request = (await wire.receiver.request()).message
    check_digest(request.fields, bytes(request.body))
    host = (request.get(b"host") or b"").decode()
    message = Message("POST", "http", host, b"/hook?a=b", request.fields)
    first, second = signatures(request.fields)
    verify(message, first, verifying_key("hmac-sha256", symmetric_of(NEW)))
    verify(message, second, verifying_key("hmac-sha256", symmetric_of(OLD)))
    assert [component.name for component in first.components] == [
        "@method", "@authority", "@path", "@query", "content-type", "content-digest",
    ]  # fmt: skip
    Webhook(NEW).verify(BODY, await fields_of(wire))


@conversation()
async def test_what_was_compressed_or_batched_says_so(wire: Wire) -> None:
    assert (await sent(wire, b"\x1f\x8b\x08 gzip", encoding="gzip")).ok
    assert (await sent(wire, b"\x28\xb5\x2f\xfd zstd", encoding="zstd")).ok
    assert (await sent(wire, b"[]", batch=Batching(format="cloudevents"))).ok
    gzip, zstd, batch = [await fields_of(wire, n) for n in range(3)]
    assert (gzip["content-encoding"], zstd["content-encoding"]) == ("gzip", "zstd")
    assert "content-encoding" not in batch
    assert batch["content-type"] == "application/cloudevents-batch+json"
    request = (await wire.receiver.request()).message
    # The bytes on the wire are what is signed: who verifies need not decompress a stranger's body.
    STANDARD_WEBHOOKS.verify(request.fields, b"\x1f\x8b\x08 gzip", [NEW], float(gzip["webhook-timestamp"]))


# who we are


@conversation()
async def test_basic_and_bearer_stand_in_authorization_once(wire: Wire) -> None:
    for auth in (Basic("user", "pass:word"), Bearer("abc.def")):
        settings = EndpointSettings(auth=auth)
        assert (await wire.send(headers={"Authorization": "other"}, settings=settings)).ok
    basic, bearer = [(await wire.receiver.request(n)).message for n in range(2)]
    assert [v for n, v in basic.fields if n == b"authorization"] == [b"Basic " + base64.b64encode(b"user:pass:word")]
    assert [v for n, v in bearer.fields if n == b"authorization"] == [b"Bearer abc.def"]


@conversation()
async def test_credentials_that_would_bend_the_request_are_refused(wire: Wire) -> None:
    for auth in (Bearer("a\r\nevil: 1"), Bearer(""), Basic("us:er", "x"), Bearer("ä")):
        result = await sent(wire, auth=auth)
        assert (result.ok, result.status) == (False, 0)
        assert result.error
    assert wire.receiver.requests == []


class AuthorizationServer:
    """Gives token-1, token-2 … and remembers what it was asked."""

    def __init__(self) -> None:
        self.backend = Backend()
        self.asked = 0
        self.answer: bytes | None = None
        self.lives = b"3600"

    async def __aenter__(self) -> AuthorizationServer:
        async def script(x: Exchange) -> None:
            await x.body()
            self.asked += 1
            token = b'{"access_token":"token-%d","token_type":"Bearer","expires_in":%b}' % (self.asked, self.lives)
            body = self.answer or token
            x.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        self.backend.script = script
        await self.backend.start()
        self.client = ClientCredentials(f"{self.backend.url}/token", "me:1", "s3cret/+", "orders write")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.backend.stop()


def tokens_taken(wire: Wire, good: set[bytes]) -> None:
    """The receiver takes these tokens only."""

    async def script(x: Exchange) -> None:
        await x.body()
        taken = (x.get(b"authorization") or b"").removeprefix(b"Bearer ") in good
        x.write(OK if taken else b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    wire.receiver.script = script


@conversation()
async def test_one_token_serves_every_try(wire: Wire) -> None:
    async with AuthorizationServer() as server:
        tokens_taken(wire, {b"token-1"})
        results = await asyncio.gather(*(sent(wire, auth=server.client) for _ in range(5)))
        assert all(result.ok for result in results)
        assert (await sent(wire, auth=server.client)).ok
        assert server.asked == 1
        request = server.backend.requests[0].message
        assert request.body == b"grant_type=client_credentials&scope=orders+write"
        assert request.get(b"authorization") == b"Basic " + base64.b64encode(b"me%3A1:s3cret%2F%2B")


@conversation()
async def test_a_401_is_worth_one_new_token_within_the_same_try(wire: Wire) -> None:
    async with AuthorizationServer() as server:
        tokens_taken(wire, {b"token-2"})
        assert (await sent(wire, auth=server.client)).ok
        assert server.asked == 2
        tokens_taken(wire, set())
        result = await sent(wire, auth=server.client)
        assert (result.ok, result.status) == (False, 401)
        assert server.asked == 3


@conversation()
async def test_no_token_is_a_failed_attempt_that_tells_nothing_of_the_secret(wire: Wire) -> None:
    async with AuthorizationServer() as server:
        for answer in (
            b'{"error":"invalid_client"}',
            b"<html>",
            b'{"access_token":"a\\nb"}',
            b'{"access_token":"x","token_type":"mac"}',
        ):
            server.answer = answer
            result = await sent(wire, auth=server.client)
            assert result.error.startswith("no access token: ")
            assert "s3cret" not in result.error
    result = await sent(wire, auth=server.client)  # nobody listens any more
    assert result.error.startswith("no access token: ")
    assert wire.receiver.requests == []


@conversation(allow=())
async def test_the_guard_stands_before_the_authorization_server(wire: Wire) -> None:
    async with AuthorizationServer() as server:
        result = await sent(wire, auth=server.client)
        assert "not a public address" in result.error
        assert server.asked == 0


# Retry-After, and responses that go on


@conversation()
async def test_retry_after_is_read_of_what_failed(wire: Wire) -> None:
    for value, wait in ((b"120", 120.0), (b"9999999", 86_400.0), (b"soon", None), (b"-1", None)):
        wire.receiver.answer(b"HTTP/1.1 503 No\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % value)
        assert (await sent(wire)).retry_after == wait
    wire.receiver.answer(b"HTTP/1.1 429 No\r\nRetry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n")
    assert (await sent(wire)).retry_after == 86_400.0
    wire.receiver.answer(b"HTTP/1.1 200 OK\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
    assert (await sent(wire)).retry_after is None


@conversation()
async def test_64_kib_of_headers_are_read_and_no_more(wire: Wire) -> None:
    most = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"x-filler: " + b"y" * 8_000 + b"\r\n"
    fits = most + b"".join(b"x-%d: %b\r\n" % (n, b"z" * 8_000) for n in range(6)) + b"\r\n"
    wire.receiver.answer(fits)
    assert (await sent(wire)).ok
    wire.receiver.answer(fits[:-2] + b"".join(b"y-%d: %b\r\n" % (n, b"z" * 8_000) for n in range(2)) + b"\r\n")
    result = await sent(wire)
    assert "head is too large" in result.error


@conversation(https_only=True)
async def test_https_only_means_that(wire: Wire) -> None:
    result = await sent(wire)
    assert "only https://" in result.error
    assert wire.receiver.requests == []


# egress proxies


class ProxyServer:
    """An HTTP or SOCKS5 proxy that connects where it is told, and remembers where that was."""

    def __init__(self, kind: str, login: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        self.kind = kind
        self.tls = tls
        self.login = login  # user:password
        self.asked: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> ProxyServer:
        self.tasks: set[asyncio.Task[None]] = set()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.tls)
        port = self.server.sockets[0].getsockname()[1]
        who = self.login.decode() + "@" if self.login else ""
        self.url = f"{self.kind}://{who}127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            where = await (self.socks(reader, writer) if self.kind == "socks5" else self.http(reader, writer))
            if where is not None:
                there = await asyncio.open_connection("127.0.0.1", where)
                self.writers.append(there[1])
                await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
        writer.close()

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        authority = head.split()[1]
        self.asked.append(authority)
        wanted = base64.b64encode(self.login).decode().lower()
        if self.login and f"proxy-authorization: basic {wanted}" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return int(authority.rpartition(":")[2])

    async def socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int | None:
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(bytes([5, 2 if self.login else 0]))
        if self.login:
            await reader.readexactly(1)
            name = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            writer.write(b"\x01\x00" if name + b":" + password == self.login else b"\x01\x01")
        _, _, _, kind = await reader.readexactly(4)
        if kind == 1:
            host = socket.inet_ntoa(await reader.readexactly(4))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        port = int.from_bytes(await reader.readexactly(2))
        self.asked.append(f"{host}:{port}")
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        return port


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


def on(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await main()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("login", [b"", b"me:secret"])
def test_webhooks_leave_through_a_proxy_to_the_address_that_was_checked(loop: str, kind: str, login: bytes) -> None:
    async def main() -> None:
        async with ProxyServer(kind, login) as proxy, Wire(proxy=EgressProxy(proxy.url)) as wire:
            port = wire.receiver.address[1]
            url = f"http://receiver.example:{port}/hook"
            for _ in range(3):
                assert (await wire.send(url=url)).ok
            assert proxy.asked == [f"127.0.0.1:{port}"]
            assert wire.looked_up == ["receiver.example"]
            assert (await wire.receiver.request()).get(b"host") == f"receiver.example:{port}".encode()
            refused = await wire.send(url="http://inside.example/")
            assert "not a public address" in refused.error
            assert len(proxy.asked) == 1
            wire.destination.close()

    on(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_the_proxy_looks_up_names_only_where_the_operator_says_so(loop: str, kind: str) -> None:
    async def main() -> None:
        async with ProxyServer(kind) as proxy, Wire(proxy=EgressProxy(proxy.url, resolve="proxy")) as wire:
            port = wire.receiver.address[1]
            assert (await wire.send(url=f"http://only.the.proxy.knows.example:{port}/")).ok
            assert proxy.asked == [f"only.the.proxy.knows.example:{port}"]
            assert wire.looked_up == []
            assert "not a public address" in (await wire.send(url="http://10.1.2.3/")).error  # no name: checked here
            wire.destination.close()

    on(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_proxy_that_refuses_is_named_without_its_password(loop: str) -> None:
    async def main() -> None:
        async with ProxyServer("http", b"me:secret") as proxy:
            wrong = proxy.url.replace("secret", "hidden")
            async with Wire(proxy=EgressProxy(wrong)) as wire:
                result = await wire.send()
                assert "made no connection: it answered 407" in result.error
                assert "hidden" not in result.error
        async with Wire(proxy=EgressProxy("socks5://127.0.0.1:1")) as wire:
            assert not (await wire.send()).ok

    on(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_proxy_may_be_asked_over_tls_and_a_receiver_through_that(loop: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("receiver.example", "127.0.0.1"))

    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(OK)
                await reader.read()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with ProxyServer("https", tls=context) as proxy:
            wire = Wire(proxy=EgressProxy(proxy.url))
            wire.tls = client_context(ca=authority.ca)
            async with wire:
                unknown = await wire.send(url=f"https://receiver.example:{port}/")
                assert "certificate" in unknown.error  # the proxy's, by the system's authorities
                assert wire.destination._proxy is not None
                wire.destination._proxy = wire.destination._proxy._replace(tls=client_context(ca=authority.ca))
                result = await wire.send(url=f"https://receiver.example:{port}/")
                assert result.ok, result.error
                assert proxy.asked == [f"127.0.0.1:{port}"]
                wire.destination.close()
        server.close()

    on(loop, main)


def test_a_proxy_that_is_none_is_refused() -> None:
    for url in ("ftp://x", "http://", "socks5://a b", "proxy:3128", "http://x:y"):
        with pytest.raises(ValueError, match="must be http"):
            EgressProxy(url)


# TLS: certificates of our own, and sessions


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("through", ["directly", "proxy"])
def test_a_client_certificate_is_shown_where_the_endpoint_has_one(loop: str, through: str, tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    server_cert, server_key = ours.issue("receiver.example")
    client_cert, client_key = ours.issue("gatepost-client")
    auth = ClientCertificate(Path(client_cert).read_text(), Path(client_key).read_text())

    async def main() -> None:
        shown: list[Any] = []
        resumed: list[bool] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tls = writer.get_extra_info("ssl_object")
            resumed.append(tls.session_reused)
            shown.append((tls.getpeercert() or {}).get("subject"))
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n", 1))
                await writer.drain()
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_cert, server_key)
        context.load_verify_locations(ours.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        url = f"https://receiver.example:{server.sockets[0].getsockname()[1]}/"
        async with contextlib.AsyncExitStack() as stack:
            settings: dict[str, Any] = {}
            if through == "proxy":
                proxy = await stack.enter_async_context(ProxyServer("http"))
                settings["proxy"] = EgressProxy(proxy.url)
            wire = Wire(**settings)
            wire.tls = client_context(ca=ours.ca)
            await stack.enter_async_context(wire)
            wire.destination.new_context = lambda: client_context(ca=ours.ca)  # type: ignore[method-assign]
            sender = wire.destination.sender(
                msgspec.structs.replace(wire.endpoint, url=url, settings=EndpointSettings(auth=auth))
            )
            for _ in range(2):
                result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
                sender.send(b"msg_1", BODY, result.set_result)
                answered = await soon(result, "a result")
                assert answered.ok, answered.error
            for _ in range(2):
                assert (await wire.send(url=url)).ok
            named = [subject is not None for subject in shown]
            assert named == [True, True, False, False]
            assert resumed == [False, True, False, True]
            plain = await wire.send(settings=EndpointSettings(auth=auth))
            assert "only be shown over https://" in plain.error
            wrong = ClientCertificate(auth.certificate, "no key")
            assert "not a pair in PEM" in (await wire.send(url=url, settings=EndpointSettings(auth=wrong))).error
            wire.destination.close()
        server.close()

    on(loop, main)
