"""The shop's order service, in plain Python. It knows orders and customers, and nothing of events or webhooks.

    POST /orders               {"customer_name": "John Doe", "total_amount": 100.0}   → 201, Location: /track/CODE
    POST /orders/12345/status  {"status": "paid"}                                     → 200
    GET  /track/CODE           the customer's page
    GET  /track/CODE/order     the order as it stands, for that page

API keys and limits are not checked here: the gateway does that, and only the gateway can reach this port.

    LIVE_SECRET=… python order_service.py [PORT]
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STATUSES = ["placed", "paid", "shipped", "delivered"]
TOKEN_LIFE = 600  # seconds; the page renews its token by itself
PAGE = (Path(__file__).parent / "page.html").read_bytes()


class Orders:
    """All orders. In memory: a shop has a database here."""

    def __init__(self) -> None:
        self._by_id: dict[int, dict[str, Any]] = {}
        self._by_code: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def place(self, customer: str, total: float) -> dict[str, Any]:
        with self._lock:
            order: dict[str, Any] = {
                "order_id": 12345 + len(self._by_id),
                "customer_name": customer,
                "total_amount": total,
                "history": [{"status": "placed", "at": now()}],
                "code": secrets.token_urlsafe(16),  # whoever has the link may follow the order
            }
            self._by_id[order["order_id"]] = self._by_code[order["code"]] = order
            return order

    def advance(self, order_id: int, status: str) -> dict[str, Any] | None:
        """The order, or None if this is not the status that comes next. Raises KeyError for an unknown order."""
        with self._lock:
            history = self._by_id[order_id]["history"]
            if STATUSES[len(history) : len(history) + 1] != [status]:
                return None
            history.append({"status": status, "at": now()})
            return self._by_id[order_id]

    def tracked(self, code: str) -> dict[str, Any] | None:
        return self._by_code.get(code)


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # an answer leaves in one piece
    orders = Orders()
    live_secret = b""

    def do_POST(self) -> None:
        try:
            asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if self.path == "/orders":
                self.place(str(asked["customer_name"]), float(asked["total_amount"]))
            elif found := re.fullmatch(r"/orders/(\d+)/status", self.path):
                self.change(int(found[1]), str(asked["status"]))
            else:
                self.answer(404, {"error": "there is nothing here"})
        except (ValueError, KeyError, TypeError) as error:
            self.answer(400, {"error": f"this is not understood: {error!r}"})

    def do_GET(self) -> None:
        found = re.fullmatch(r"/track/([\w-]+)(/order)?", self.path)
        order = self.orders.tracked(found[1]) if found else None
        if not found or not order:
            self.answer(404, {"error": "no order has this link"})
        elif found[2]:
            shown = {name: value for name, value in order.items() if name != "code"}
            self.answer(200, shown, {"Set-Cookie": self.cookie(order)})
        else:
            self.answer(200, PAGE)

    def place(self, customer: str, total: float) -> None:
        order = self.orders.place(customer, total)
        created = {name: order[name] for name in ("order_id", "customer_name", "total_amount")}
        self.answer(201, created, {"Location": f"/track/{order['code']}"})

    def change(self, order_id: int, status: str) -> None:
        try:
            order = self.orders.advance(order_id, status)
        except KeyError:
            return self.answer(404, {"error": f"there is no order {order_id}"})
        if order is None:
            return self.answer(409, {"error": f"order {order_id} cannot become {status!r} now"})
        return self.answer(200, {"order_id": order_id, "status": status, "at": order["history"][-1]["at"]})

    def cookie(self, order: dict[str, Any]) -> str:
        """A token that lets a browser follow this one order, for ten minutes (docs/live.md)."""
        topic = f"/shop/orders/{order['order_id']}"
        token = jwt({"mercure": {"subscribe": [topic]}, "exp": int(time.time()) + TOKEN_LIFE}, self.live_secret)
        secure = " Secure;" if self.headers.get("X-Forwarded-Proto") == "https" else ""
        path = "/.well-known/mercure"
        return f"mercureAuthorization={token}; Path={path}; Max-Age={TOKEN_LIFE}; HttpOnly;{secure} SameSite=Strict"

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        html = isinstance(body, bytes)
        content = body if html else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8" if html else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        print(json.dumps({"method": self.command, "path": self.path, "status": int(code)}), flush=True)


def now() -> float:
    return round(time.time(), 3)


def jwt(claims: dict[str, Any], secret: bytes) -> str:
    """A JSON Web Token signed with HMAC-SHA256 (RFC 7519); any JWT library does the same."""
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.new(secret, signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    if "LIVE_SECRET" not in os.environ:
        sys.exit("order_service.py: set LIVE_SECRET to the secret that Gatepost has as live.jwt_secret")
    Service.live_secret = os.environ["LIVE_SECRET"].encode()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Service)
    except OSError as error:
        sys.exit(f"order_service.py: cannot listen on 127.0.0.1:{port}: {error.strerror}; give another port")
    print(json.dumps({"ready": f"http://127.0.0.1:{port}"}), flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
