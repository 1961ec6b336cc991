"""The shop: an order passes the gateway, becomes a durable event, reaches a signed webhook receiver and a live page.

    python demo.py             tells it as a timeline, then keeps everything running until Ctrl-C
    python demo.py --once      the same without pauses: checks each step, exits 0 or 1
    python demo.py --express   the partner is partner.mjs (Node and Express) instead of partner.py

`gatepost demo` and `make demo` run this file.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stage import PATIENCE, Answer, Child, Page, StageError, call, port
from timeline import Timeline

SHOP = Path(__file__).resolve().parent
NEW_ORDER = {"event": "new_order", "data": {"order_id": 12345, "customer_name": "John Doe", "total_amount": 100.0}}
PORTS = {"gateway": 8080, "control": 8081, "orders": 9000, "partner": 9100}  # as gatepost.yaml has them
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STATUSES = ("paid", "shipped", "delivered")


class Unmet(Exception):
    """A step did not go as it must."""


class Shop:
    """Everything that runs, and the story in its order: `STORY` at the end of the class."""

    def __init__(self, folder: Path, *, once: bool, express: bool) -> None:
        self.folder = folder
        self.once = once
        self.express = express
        self.timeline = Timeline()
        self.children: list[Child] = []
        self.page: Page | None = None
        self.link, self.number = "", 0  # of the latest order
        self.keys = {name: f"gp_{secrets.token_urlsafe(24)}" for name in ("web-shop", "back-office")}
        self.ports = {name: port(usual, any_free=once) for name, usual in PORTS.items()}
        self.gateway, self.control = (f"http://127.0.0.1:{self.ports[name]}" for name in ("gateway", "control"))

    # The story.

    def open(self) -> str:
        """The shop opens"""
        for name, usual in PORTS.items():
            if self.ports[name] != usual and not self.once:
                self.timeline.note(f"port {usual} is taken: {name} is on {self.ports[name]} instead")
        text = (SHOP / "gatepost.yaml").read_text()
        for name, usual in PORTS.items():
            text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{self.ports[name]}")
        file = self.folder / "gatepost.yaml"
        file.write_text(text)
        shared = {
            "PARTNER_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "LIVE_SECRET": secrets.token_hex(32),
        }
        hashes = {
            f"{name.upper().replace('-', '_')}_KEY_SHA256": hashlib.sha256(key.encode()).hexdigest()
            for name, key in self.keys.items()
        }
        python = sys.executable
        gatepost = [python, "-m", "gatepost", "serve", "-c", str(file)]
        self.start("order service", [python, str(SHOP / "order_service.py"), str(self.ports["orders"])], shared)
        self.start("partner", self.partner_command(), {**shared, "PORT": str(self.ports["partner"])})
        self.start("Gatepost", gatepost, {**shared, **hashes})
        for child in self.children:
            self.expect(child.name, lambda line: "ready" in line or line.get("log", {}).get("event") == "ready")
        if call("GET", f"{self.control}/ready").status != 200:
            raise Unmet("Gatepost says that it is not ready")
        return "Gatepost, the order service and the partner are up"

    def refuse_strangers(self) -> str:
        """Who has no key gets no order"""
        without = self.ask("web shop", "POST", "/orders", {"customer_name": "Mallory", "total_amount": 1.0})
        wrong = self.ask("web shop", "POST", "/orders/12345/status", {"status": "paid"}, key="web-shop")
        if (without.status, wrong.status) != (401, 403):
            raise Unmet(f"expected 401 and 403, not {without.status} and {wrong.status}")
        if any("path" in line for line in self.timeline.all("order service")):
            raise Unmet("a refused request reached the order service")
        return "no key: 401. The web shop's key on the back office's route: 403. Neither reached the order service"

    def place_order(self) -> str:
        """An order passes the gateway and becomes an event"""
        answer = self.order(NEW_ORDER["data"])
        if answer.json != NEW_ORDER["data"]:
            raise Unmet(f"expected {NEW_ORDER['data']}, not {answer.json}")
        if "RateLimit" not in answer.headers:
            raise Unmet("the answer does not say what is left of the rate limit")
        stored = self.messages()
        if [(one["eventType"], one["payload"]) for one in stored] != [("order.created", NEW_ORDER)]:
            raise Unmet(f"expected one message order.created with {NEW_ORDER}, not {stored}")
        return f"order.created is on disk: {json.dumps(NEW_ORDER)}"

    def reach_partner(self) -> str:
        """The partner receives it, signed"""
        received = self.expect("partner", lambda line: "id" in line)
        if not received.get("verified") or received["event"] != NEW_ORDER:
            raise Unmet(f"the partner did not verify the event: {received}")
        return "the partner verified the signature and has the same event"

    def reach_page(self) -> str:
        """The customer's page shows each change by itself"""
        bare = call("GET", f"{self.gateway}/.well-known/mercure?topic=/shop/orders/12345")
        if bare.status != 401:
            raise Unmet(f"a stranger who follows the order must get 401, not {bare.status}")
        self.page = Page(self.link, self.heard("customer's page"))
        self.timeline.tell("customer's page", "Gatepost", "follows /shop/orders/12345, with the cookie of its order")
        self.pause(4)
        self.advance()
        seen = [line["payload"]["data"]["status"] for line in self.timeline.all("customer's page") if "type" in line]
        if seen != list(STATUSES):
            raise Unmet(f"the page saw {seen}")
        return "paid, shipped, delivered arrived on one stream, without a reload"

    def survive_bad_day(self) -> str:
        """The partner fails twice, the event arrives on the third try"""
        partner = next(child for child in self.children if child.name == "partner")
        partner.signal(signal.SIGUSR2)
        self.expect("partner", lambda line: "bad_day" in line)
        self.order({"customer_name": "Jane Roe", "total_amount": 59.9})
        message = next(one for one in self.messages() if one["payload"]["data"]["order_id"] == self.number)
        self.expect("partner", lambda line: line.get("verified") is True and line["id"] == message["id"])
        tries = [line["status"] for line in self.timeline.all("partner") if line.get("id") == message["id"]]
        if len(tries) != 3 or tries[:2] != [500, 500]:
            raise Unmet(f"expected two times 500 and then success, not {tries}")
        recorded = self.attempts(message["id"], 3)
        if recorded != tries:
            raise Unmet(f"the partner answered {tries}, the record says {recorded}")
        return f"the partner answered {', '.join(map(str, tries))}, and Gatepost's record says the same"

    def close(self) -> str:
        """The shop closes"""
        if self.page is not None:
            self.page.close()
        codes = {child.name: child.stop() for child in reversed(self.children)}
        if any(codes.values()):
            raise Unmet(f"not everything ended with 0: {codes}")
        return "everything ended with 0"

    STORY = (open, refuse_strangers, place_order, reach_partner, reach_page, survive_bad_day)

    # What the steps are made of.

    def start(self, name: str, command: list[str], env: dict[str, str]) -> None:
        self.children.append(Child(name, command, env, str(self.folder), self.heard(name)))

    def partner_command(self) -> list[str]:
        if not self.express:
            return [sys.executable, str(SHOP / "partner.py"), str(self.ports["partner"])]
        node = shutil.which("node")
        if node is None:
            raise StageError("Node.js is missing: install it (apt-get install nodejs npm), or leave out --express")
        if not any((folder / "node_modules" / "express").is_dir() for folder in SHOP.parents):
            raise StageError("Express is not installed: run `npm ci` in the clone, or leave out --express")
        return [node, str(SHOP / "partner.mjs")]

    def heard(self, where: str) -> Callable[[dict[str, Any]], None]:
        """Tells what a child (or the page) says, and keeps it."""

        def listen(line: dict[str, Any]) -> None:
            if "path" in line and where == "order service":
                words = f"{line['method']} {shorter(line['path'])}  {line['status']}"
                self.timeline.tell("Gatepost", where, words)
            elif "verified" in line:
                self.timeline.tell("Gatepost", where, f"{line['event']['event']}, signature verified  {line['status']}")
            elif "failed" in line or "refused" in line:
                reason = line.get("failed", line.get("refused"))
                self.timeline.tell("Gatepost", where, f"{reason}  {line['status']}", bad=True)
            elif "type" in line:
                self.timeline.tell("Gatepost", where, f"{line['type']}  {line['id']}")
            elif "ended" in line:
                self.timeline.failed(f"{where} has ended")
            self.timeline.happened(where, line)

        return listen

    def expect(self, name: str, fits: Callable[[dict[str, Any]], bool], after: int = 0) -> dict[str, Any]:
        """Wait for what a child says. Raises StageError if it ends, Unmet if it says nothing that fits."""
        line = self.timeline.wait_for(name, lambda line: "ended" in line or fits(line), PATIENCE, after=after)
        if line is None:
            raise Unmet(f"nothing was heard of {name} within {PATIENCE:.0f} seconds")
        if "ended" in line:
            child = next(child for child in self.children if child.name == name)
            raise StageError(f"{name} has ended:\n{child.complaint}")
        return line

    def ask(self, who: str, method: str, path: str, document: Any = None, key: str = "") -> Answer:
        """One request of somebody to the gateway, told."""
        shown = f"  {json.dumps(document)}" if document else ""
        self.timeline.tell(who, "Gatepost", f"{method} {path}{shown}")
        before = self.timeline.length
        answer = call(method, self.gateway + path, document, **({"X_Api_Key": self.keys[key]} if key else {}))
        if answer.status < 400:
            self.expect("order service", lambda line: line.get("path") == path, before)
        reason = "" if answer.status < 400 else f"  {answer.json.get('title', answer.json)}"
        self.timeline.tell("Gatepost", who, f"{answer.status}{reason}", bad=answer.status >= 400)
        return answer

    def order(self, document: Any) -> Answer:
        """Place an order with the web shop's key, and remember the link to its page."""
        wanted = {name: document[name] for name in ("customer_name", "total_amount")}
        answer = self.ask("web shop", "POST", "/orders", wanted, key="web-shop")
        if answer.status != 201:
            raise Unmet(f"expected 201, not {answer.status}: {answer.body.decode()}")
        self.link, self.number = self.gateway + answer.headers["Location"], answer.json["order_id"]
        if not self.once:
            self.timeline.note(f"the customer's page: {self.link}")
        return answer

    def advance(self) -> None:
        """Lead the latest order through its statuses, and see that the page, if one is open, gets each."""
        path = f"/orders/{self.number}/status"
        for status in STATUSES:
            self.pause(3)
            answer = self.ask("back office", "POST", path, {"status": status}, key="back-office")
            if answer.status != 200:
                raise Unmet(f"expected 200, not {answer.status}: {answer.body.decode()}")
            if self.page is not None:
                self.expect("customer's page", lambda line: line.get("type") == f"order.{status}" or "closed" in line)  # noqa: B023

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.manage("/api/v1/app/shop/msg?limit=50")["data"]
        return found

    def attempts(self, message: str, count: int) -> list[int]:
        """The statuses of a message's attempts, oldest first. An attempt is recorded a moment after its answer."""
        until = time.monotonic() + PATIENCE
        while True:
            found = self.manage(f"/api/v1/app/shop/attempt/msg/{message}")["data"]
            if len(found) >= count or time.monotonic() > until:
                return [one["responseStatusCode"] for one in reversed(found)]
            time.sleep(0.05)

    def manage(self, path: str) -> Any:
        """Read something from the control API."""
        token = (self.folder / "admin.token").read_text().strip()
        answer = call("GET", self.control + path, Authorization=f"Bearer {token}")
        if answer.status != 200:
            raise Unmet(f"the control API answers {answer.status}: {answer.body.decode()}")
        return answer.json

    def pause(self, seconds: float) -> None:
        """Time to look, where somebody is looking."""
        if not self.once:
            time.sleep(seconds)

    def stay(self) -> None:
        """Keep everything running until Ctrl-C; Enter sends the latest order on its way."""
        self.timeline.heading("Open")
        for name, url in (
            ("the customer's page", self.link),
            ("the control API, its docs", f"{self.control}/docs"),
            ("the admin token for it", str(self.folder / "admin.token")),
        ):
            self.timeline.console.print(f"  {name:26} [cyan]{url}[/cyan]")
        if self.page is not None:
            self.page.close()  # from here on there is a real browser
            self.page = None
        self.timeline.console.print(
            "\n  Open the page, then press [bold]Enter[/bold]: its order goes on its way before your eyes."
            "\n  [bold]Ctrl-C[/bold] ends everything."
        )
        while sys.stdin.readline():
            self.advance()
            self.order({"customer_name": "Max Muster", "total_amount": 24.5})
            self.timeline.note("open it and press Enter again")
        threading.Event().wait()


def shorter(path: str) -> str:
    """A path without the customer's secret code."""
    return re.sub(r"^(/track/.{4})[^/]*", r"\1…", path)


def run(shop: Shop) -> int:
    """The story to its end, good or bad; the exit code."""
    timeline = shop.timeline
    good = True
    try:
        for number, step in enumerate(Shop.STORY, 1):
            timeline.heading(f"{number}. {step.__doc__}")
            timeline.passed(step(shop))
        if not shop.once:
            shop.stay()
    except (Unmet, StageError, OSError) as error:
        timeline.failed(str(error))
        good = False
    except KeyboardInterrupt:
        timeline.console.print()
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must leave nothing behind
        timeline.heading(str(Shop.close.__doc__))
        try:
            timeline.passed(shop.close())
        except Unmet as error:
            # How they ended follows from what went wrong before, if anything did.
            timeline.failed(str(error)) if good else timeline.note("everything has ended")
            good = False
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="The shop of Gatepost's examples, as a timeline.")
    parser.add_argument("--once", action="store_true", help="run it once, check each step, exit 0 or 1")
    parser.add_argument("--express", action="store_true", help="the partner in Node and Express instead of Python")
    options = parser.parse_args()

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, end)
    with tempfile.TemporaryDirectory(prefix="gatepost-shop-") as folder, contextlib.suppress(KeyboardInterrupt):
        return run(Shop(Path(folder), once=options.once, express=options.express))
    return 0


if __name__ == "__main__":
    sys.exit(main())
