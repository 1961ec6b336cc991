"""The ASGI handler: an application's conversation with an exchange, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from typing import Any

import pytest
from tests.support.exchanges import RecordingDownstream, make_exchange

from gatepost import log
from gatepost.errors import GatepostError
from gatepost.exchange import Exchange
from gatepost.upstream.asgi import WINDOW, App, AsgiHandler, Receive, Scope, Send


class Running:
    """One exchange that was handed to an application: unpack it, and `await end` for the end of its task."""

    def __init__(self, app: App, *arguments: Any, **options: Any) -> None:
        self.handler = AsgiHandler(app)
        self.x, self.client = make_exchange(*arguments, **options)
        self.handler.handle(self.x)
        (call,) = self.handler._calls
        self._task = call.task

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wait_for(asyncio.wait([self._task]), 5).__await__()


def start(app: App, *arguments: Any, **options: Any) -> tuple[AsgiHandler, Exchange, RecordingDownstream, Running]:
    running = Running(app, *arguments, **options)
    return running.handler, running.x, running.client, running


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def answers(status: int, *fields: tuple[bytes, bytes], body: bytes = b"") -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(fields)})
        await send({"type": "http.response.body", "body": body})

    return app


async def test_an_answer_in_one_piece_is_one_write() -> None:
    _, _, client, end = start(answers(201, (b"Content-Type", b"text/plain"), (b"content-length", b"2"), body=b"ok"))
    await end
    assert client.calls == ["respond"]
    assert (client.status, client.fields, client.body) == (201, [(b"content-type", b"text/plain")], b"ok")


async def test_the_scope_says_what_the_exchange_is() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)
        await answers(204)(scope, receive, send)

    handler = AsgiHandler(app, root_path="/admin")
    x, _ = make_exchange("POST", "/admin/caf%C3%A9?a=1%20", [(b"accept", b"*/*")], b"{}", client="192.0.2.7")
    x.trace = b"traceparent: 00-1-2-01\r\n"
    handler.handle(x)
    await turns()
    headers = seen.pop("headers")
    assert seen == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/admin/café",
        "query_string": b"a=1%20",
        "root_path": "/admin",
        "client": ("192.0.2.7", 0),
        "server": None,
        "state": {},
    }
    assert headers == [
        (b"host", b"gateway.test"),
        (b"accept", b"*/*"),
        (b"x-request-id", b"req-1"),
        (b"content-length", b"2"),
        (b"traceparent", b"00-1-2-01"),
    ]


async def test_a_body_that_is_there_is_read_at_once_and_then_only_the_end_of_the_client() -> None:
    events: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        events.append(await receive())
        events.append(await receive())

    handler, x, client, end = start(app, "POST", "/", body=b"hello")
    await turns()
    assert events == [{"type": "http.request", "body": b"hello", "more_body": False}]
    handler.client_gone(x)
    await end
    assert events[1:] == [{"type": "http.disconnect"}]
    assert client.calls == []


async def test_a_streamed_body_stops_while_the_application_does_not_read() -> None:
    go = asyncio.Event()
    read: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            read.append(await receive())
            if not read[-1]["more_body"]:
                break
            await go.wait()
        await answers(204)(scope, receive, send)

    _, _, client, end = start(app, "POST", "/", body=None)
    await turns()
    assert client.calls == ["receive"]
    sink = client.receiver
    assert sink is not None
    sink.send(b"a")
    await turns()
    sink.send(b"b" * WINDOW)
    assert "pause_body" not in client.calls
    sink.send(b"c")
    assert client.calls[1:] == ["pause_body"]
    go.set()
    await turns()
    assert client.calls[2:] == ["resume_body"]
    sink.finish()
    await end
    assert b"".join(event["body"] for event in read) == b"a" + b"b" * WINDOW + b"c"
    assert [event["more_body"] for event in read] == [True, True, False]
    assert client.status == 204


async def test_a_body_is_not_asked_for_unless_the_application_reads_it() -> None:
    _, _, client, end = start(answers(413), "POST", "/", body=None)
    await end
    assert client.calls == ["respond"]


async def test_sending_waits_while_the_client_does_not_take_what_was_sent() -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(4):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": number < 3})
            sent.append(number)

    _, _, client, end = start(app)

    original = client.send

    def send(data: bytes) -> None:
        original(data)
        if data == b"1":
            assert client.source is not None
            client.source.pause()

    client.send = send  # type: ignore[method-assign]
    await turns(10)
    assert sent == [0]
    assert client.source is not None
    client.source.resume()
    await end
    assert sent == [0, 1, 2, 3]
    assert client.calls == ["begin", "send", "send", "send", "send", "finish"]
    assert (client.body, client.length) == (b"0123", None)


async def test_whoever_waits_to_send_learns_that_the_client_left() -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            assert client.source is not None
            client.source.pause()
            await send({"type": "http.response.body", "body": b"y", "more_body": True})
        except OSError as error:
            raised.append(error)
            raise

    with log.recorded() as events:
        handler, x, client, end = start(app)
        await turns()
        handler.client_gone(x)
        await end
    assert len(raised) == 1
    assert events == []  # nobody's fault
    assert client.calls == ["begin", "send", "send"]


async def test_an_error_after_the_client_left_is_logged_if_it_is_the_applications_own() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        raise KeyError("own")

    with log.recorded() as events:
        handler, x, client, end = start(app)
        await turns()
        handler.client_gone(x)
        await end
    assert [event["event"] for event in events] == ["asgi_failed"]
    assert client.calls == []


async def test_an_exception_becomes_a_500_and_one_log_line_and_shows_nothing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("the password is swordfish")

    with log.recorded() as events:
        _, x, client, end = start(app)
        await end
    assert client.status == 500
    assert client.header(b"content-type") == b"application/problem+json"
    assert json.loads(client.body)["type"] == "urn:gatepost:problem:internal-error"
    assert b"swordfish" not in client.body
    assert x.outcome == "internal-error"
    (event,) = events
    assert event["event"] == "asgi_failed"
    assert event["reason"] == "ValueError: the password is swordfish"
    assert "test_asgi_handler.py:" in str(event["where"])


async def test_an_exception_in_the_middle_cuts_the_response_off() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError

    with log.recorded() as events:
        _, _, client, end = start(app)
        await end
    assert client.calls == ["begin", "send", "abort"]
    assert len(events) == 1


async def test_an_exception_after_the_answer_leaves_the_answer_alone() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answers(200, body=b"fine")(scope, receive, send)
        raise ValueError

    with log.recorded() as events:
        _, _, client, end = start(app)
        await end
    assert client.calls == ["respond"]
    assert len(events) == 1


async def _silent(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def _headless(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.body", "body": b"x"})


async def _doubled(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.start", "status": 200})


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})


@pytest.mark.parametrize(
    "app",
    [
        _silent,
        _headless,
        _doubled,
        _unknown,
        answers(200, (b"content-length", b"3"), body=b"four"),
        answers(200, (b"content-length", b"5"), body=b"four"),
        answers(200, (b"x-name", b"a\r\nset-cookie: b=1")),
        answers(200, (b"x-name\n", b"a")),
        answers(200, (b"x-name", b"a\0")),
    ],
)
async def test_an_application_that_breaks_its_word_answers_500(app: App) -> None:
    with log.recorded() as events:
        _, _, client, end = start(app)
        await end
    assert client.status == 500
    assert len(events) == 1


async def test_framing_and_hop_by_hop_fields_are_the_connections_own() -> None:
    fields = [(b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"keep-alive", b"1"), (b"x-a", b"1")]
    _, _, client, end = start(answers(200, *fields, body=b"x"))
    await end
    assert client.fields == [(b"x-a", b"1")]


async def test_head_keeps_the_length_and_drops_the_body() -> None:
    _, _, client, end = start(answers(200, (b"content-length", b"4"), body=b"four"), "HEAD")
    await end
    assert (client.calls, client.length, client.body) == (["begin", "finish"], 4, b"")


async def test_a_304_has_no_body() -> None:
    _, _, client, end = start(answers(304, (b"content-length", b"4")))
    await end
    assert (client.status, client.body) == (304, b"")


async def test_the_state_that_start_up_leaves_is_in_every_scope() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["pool"] = "open"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            seen.append("closed")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            seen.append(scope["state"]["pool"])
            await answers(204)(scope, receive, send)

    handler = AsgiHandler(app)
    await handler.startup()
    x, _ = make_exchange()
    handler.handle(x)
    await turns()
    await handler.shutdown()
    assert seen == ["open", "closed"]


async def test_a_failed_start_says_why() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError

    with log.recorded() as events, pytest.raises(GatepostError, match="did not start: no database"):
        await AsgiHandler(app).startup()
    await turns()
    assert events == []


async def test_an_application_without_a_lifespan_is_served() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"

    handler = AsgiHandler(app)
    with log.recorded() as events:
        await handler.startup()
        await handler.shutdown()
    assert [event["event"] for event in events] == ["asgi_lifespan_ended"]


async def test_shutdown_ends_what_still_runs() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    handler, _, client, _ = start(app)
    await turns()
    await handler.shutdown()
    assert client.status == 503
    assert not handler._calls


async def test_answers_end_a_wait_for_the_client_to_leave() -> None:
    """Frameworks listen for the disconnect beside the response; that listener must not outlive it."""
    events: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            await receive()
            events.append(await receive())

        listener = asyncio.create_task(listen())
        await turns(2)
        await answers(200)(scope, receive, send)
        await listener

    _, _, _, end = start(app)
    await end
    assert events == [{"type": "http.disconnect"}]
