"""The customer's order page in a real browser: what happens to the order appears on it by itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Page, async_playwright, expect
from tests.support.node import Node, free_port, running
from tests.support.rawclient import RawClient
from tests.support.shop import CHROMIUM, needs_chromium, order_service, settings
from tests.support.strict_http import Message

pytestmark = needs_chromium

KEYS = {"web-shop": "gp_of-the-web-shop", "back-office": "gp_of-the-back-office"}
SECRETS = {
    "WEB_SHOP_KEY_SHA256": hashlib.sha256(KEYS["web-shop"].encode()).hexdigest(),
    "BACK_OFFICE_KEY_SHA256": hashlib.sha256(KEYS["back-office"].encode()).hexdigest(),
    "PARTNER_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "LIVE_SECRET": "an-example-secret-of-32-bytes-or-more",
}
# What must not be: the browser's own traffic to anywhere, and its sandbox, which root cannot have.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-default-apps", "--metrics-recording-only", "--disable-dev-shm-usage"),
]


class Shop:
    def __init__(self, node: Node) -> None:
        self.node = node

    async def ask(self, who: str, path: str, document: object) -> Message:
        body = json.dumps(document).encode()
        async with await RawClient.connect(self.node.traffic) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: shop\r\nX-Api-Key: {KEYS[who]}\r\nContent-Length: {len(body)}\r\n"
            client.send(f"{head}Connection: close\r\n\r\n".encode() + body)
            return await client.response(b"POST")

    async def place(self) -> str:
        """The link to the page of order 12345."""
        answer = await self.ask("web-shop", "/orders", {"customer_name": "John Doe", "total_amount": 100.0})
        assert answer.status == 201, answer
        location = answer.get(b"location")
        assert location is not None
        return f"http://{self.node.traffic[0]}:{self.node.traffic[1]}{location.decode()}"

    async def change(self, status: str) -> None:
        answer = await self.ask("back-office", "/orders/12345/status", {"status": status})
        assert answer.status == 200, answer


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Shop, Page]]:
    """The shop with one order, and its page open and live."""
    port = free_port()
    document = settings(SECRETS, {9000: port})
    document["live"]["retry"] = "100ms"
    async with (
        order_service(port, SECRETS["LIVE_SECRET"]),
        running(folder, document) as node,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            shop, page = Shop(node), await browser.new_page()
            complaints: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(await shop.place())
            await expect(page.locator("#live")).to_have_text("live")
            await page.evaluate("window.neverReloaded = true")
            yield shop, page
            assert await page.evaluate("window.neverReloaded"), "the page was loaded again"
            assert complaints == []
        finally:
            await browser.close()


async def test_status_changes_appear_without_a_reload(tmp_path: Path) -> None:
    async with opened(tmp_path) as (shop, page):
        await expect(page.locator("#number")).to_have_text("Order 12345")
        await expect(page.locator("#sum")).to_have_text("John Doe · 100.00")
        await expect(page.locator("li.now")).to_contain_text("Order placed")
        for status, words in (("paid", "Payment received"), ("shipped", "On its way"), ("delivered", "Delivered")):
            await shop.change(status)
            await expect(page.locator("li.now")).to_contain_text(words)
        await expect(page.locator("#headline")).to_have_text("It has arrived. Enjoy!")
        assert await page.locator("li.done").count() == 4


async def test_a_page_comes_back_after_a_restart_and_shows_what_it_missed(tmp_path: Path) -> None:
    async with opened(tmp_path) as (shop, page):
        shop.node.kill()
        await shop.node.exit_code()
        await expect(page.locator("#live")).to_have_text("connecting")
        await asyncio.gather(shop.node.start(), expect(page.locator("#live")).to_have_text("live", timeout=15_000))
        await shop.change("paid")
        await expect(page.locator("li.now")).to_contain_text("Payment received")


async def test_a_page_whose_token_has_ended_gets_a_new_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as (shop, page):
        # Another secret ends the stream, and the browser's next try is refused: what an ended token does as well.
        changed = json.loads(shop.node.file.read_text())
        changed["live"]["jwt_secret"] = "another-secret-of-32-bytes-or-more-"
        shop.node.write(changed)
        await expect(page.locator("#live")).to_have_text("connecting", timeout=15_000)
        changed["live"]["jwt_secret"] = SECRETS["LIVE_SECRET"]
        shop.node.write(changed)
        await expect(page.locator("#live")).to_have_text("live", timeout=15_000)
        await shop.change("paid")
        await expect(page.locator("li.now")).to_contain_text("Payment received")
