"""A partner's webhook receiver, with nothing but Python's standard library. Copy `verify` and you have all you need.

    PARTNER_SECRET=whsec_… python partner.py [PORT]

It keeps three rules. What is not signed with the secret is refused. An event is handled once, although it may come
twice. An event that could not be handled is answered with 500, so that it comes again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE = 5 * 60  # seconds that a signature's time may be off: what somebody recorded is not accepted later


class WrongSignature(Exception):
    """The request is not from whom it says, or not from now."""


def verify(headers: Mapping[str, str], body: bytes, secret: str) -> Any:
    """The event of a signed webhook (https://www.standardwebhooks.com). Raises WrongSignature.

    The body must be the bytes as they came: JSON that was parsed and written again has another signature.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    try:
        id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        given = headers["webhook-signature"].split()  # several while a secret is being changed
        age = abs(time.time() - int(timestamp))
    except (KeyError, AttributeError, TypeError, ValueError):
        raise WrongSignature("the webhook's headers are missing or malformed") from None
    if age > TOLERANCE:
        raise WrongSignature("the signature is too old, or this machine's clock is wrong")
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, one.encode()) for one in given):
        raise WrongSignature("the signature is wrong")
    return json.loads(body)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # an answer leaves in one piece
    secret = ""
    handled: set[str] = set()  # noqa: RUF012  # shared on purpose; a real partner asks its database
    bad_luck = 0  # how many events its database will refuse

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/webhook":
            return self.answer(404)
        try:
            event = verify(self.headers, body, self.secret)  # type: ignore[arg-type]  # it finds names in any case
        except WrongSignature as error:
            return self.answer(401, refused=str(error))
        id = self.headers["webhook-id"]
        try:
            if id not in self.handled:
                self.handle_event(event)
                self.handled.add(id)
        except ConnectionError as error:
            return self.answer(500, id=id, failed=str(error))
        return self.answer(204, id=id, verified=True, event=event)

    def handle_event(self, event: Any) -> None:
        """Where a partner writes the event into its own database."""
        if Receiver.bad_luck:
            Receiver.bad_luck -= 1
            raise ConnectionError("the database cannot be reached")

    def answer(self, status: int, **told: Any) -> None:
        print(json.dumps({"status": status, **told}), flush=True)
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """`answer` tells what there is to tell."""


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9100
    if "PARTNER_SECRET" not in os.environ:
        sys.exit("partner.py: set PARTNER_SECRET to the endpoint's secret, whsec_…")
    Receiver.secret = os.environ["PARTNER_SECRET"]

    def a_bad_day(*_: Any) -> None:
        Receiver.bad_luck += 2
        print(json.dumps({"bad_day": True}), flush=True)

    signal.signal(signal.SIGUSR2, a_bad_day)  # for the demo: the database refuses the next two events
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    except OSError as error:
        sys.exit(f"partner.py: cannot listen on 127.0.0.1:{port}: {error.strerror}; give another port")
    print(json.dumps({"ready": f"http://127.0.0.1:{port}/webhook"}), flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
