"""What the demo stands on: processes that end when it ends, ports, HTTP calls, and a browser without a window."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE = 20.0  # seconds for anything that should take one


class StageError(Exception):
    """The demo cannot go on; the text says what to do."""


def port(preferred: int, *, any_free: bool) -> int:
    """The preferred port if it is free; else, or if any will do, a free one."""
    for number in (0,) if any_free else (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise StageError("no port of 127.0.0.1 is free")


class Child:
    """A process whose standard output is lines of JSON, each given to `heard` in a thread of its own."""

    def __init__(
        self, name: str, command: list[str], env: dict[str, str], folder: str, heard: Callable[[dict[str, Any]], None]
    ) -> None:
        self.name = name
        self.stopping = False
        self._heard = heard
        self._errors: deque[str] = deque(maxlen=8)
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends the others in their order
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._listen, self._complain)]
        for reader in self._readers:
            reader.start()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def complaint(self) -> str:
        """The last lines that it wrote to its standard error."""
        return "\n".join(self._errors) or f"it ended with exit code {self._process.returncode}"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> int:
        """End it, if need be by force; its exit code."""
        self.stopping = True
        if self.running:
            self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._heard(json.loads(line))
        if not self.stopping:
            self._process.wait()
            self._heard({"ended": True})

    def _complain(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._errors.append(line.rstrip())
                with contextlib.suppress(ValueError):
                    self._heard({"log": json.loads(line)})


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(method: str, url: str, document: Any = None, **headers: str) -> Answer:
    """One HTTP request on a connection of its own. Raises OSError where nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    body = None if document is None else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named["Content-Type"] = "application/json"
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, named)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    except http.client.HTTPException as error:
        raise OSError(f"{method} {url}: {error!r}") from None
    finally:
        connection.close()


class Page:
    """The customer's page as a browser has it: it loads the order, keeps the cookie, and follows the stream."""

    def __init__(self, link: str, heard: Callable[[dict[str, Any]], None]) -> None:
        """Raises StageError where the page, the order or the stream is refused."""
        self._heard = heard
        page = call("GET", link)
        order = call("GET", f"{link}/order")
        if page.status != 200 or order.status != 200:
            raise StageError(f"the customer's page answers {page.status}, its order {order.status}")
        cookie = SimpleCookie(order.headers["Set-Cookie"])["mercureAuthorization"]
        parts = urlsplit(link)
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
        target = f"/.well-known/mercure?topic=/shop/orders/{order.json['order_id']}"
        self._connection.request("GET", target, headers={"Cookie": f"mercureAuthorization={cookie.value}"})
        self._socket = self._connection.sock
        self._stream = self._connection.getresponse()
        if self._stream.status != 200:
            raise StageError(f"the live stream answers {self._stream.status}: {self._stream.read().decode()}")
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # its reader, in the midst of a line, sees the end
        self._reader.join(PATIENCE)
        self._connection.close()

    def _follow(self) -> None:
        event: dict[str, str] = {}
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for raw in self._stream:
                name, _, value = raw.decode().rstrip("\r\n").partition(": ")
                if name:
                    event[name] = value
                elif "data" in event:
                    self._heard({"type": event["event"], "id": event["id"], "payload": json.loads(event["data"])})
                    event = {}
        self._heard({"closed": True})
