"""Where the keys come from that tokens are verified with: the configuration, or a URL whose set is kept and renewed.

Of a URL: one fetch at a time serves everyone who waits; a set is renewed in the background before anybody has to wait
for it; an unknown `kid` (a key that was just rotated in) fetches at most once in `UNKNOWN_KID` seconds, however many
tokens invent one; while the URL fails, the last set serves for `stale` seconds, and then none.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Protocol

from gatepost import log
from gatepost.clock import Clock
from gatepost.errors import SignatureError
from gatepost.net.fetch import Fetcher, FetchError
from gatepost.policies.bearer import Grounds
from gatepost.policies.remembered import Remembered
from gatepost.signatures.jwks import KeySet, key_set

UNKNOWN_KID: Final = 30.0  # seconds between two fetches that unknown kids cause
RETRY: Final = 5.0  # seconds after a fetch that failed
LONGEST: Final = 262_144  # bytes of a set


class KeySource(Protocol):
    """Keys, and what was verified with them. Shared by the routes that say the same of their tokens."""

    verified: Remembered[Grounds]
    due: float  # monotonic seconds: from then on `renew` should be called

    def keys(self, now: float) -> KeySet | None:
        """None: there are none (any more) to verify with."""
        ...

    def may_ask(self, now: float) -> bool:
        """Whether a token that no key fits is worth a look whether there are new ones."""
        ...

    def renew(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """The look, under way or begun now. It never fails."""
        ...


class FixedKeys:
    """Keys of the configuration."""

    __slots__ = ("__weakref__", "_keys", "due", "verified")

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys
        self.verified: Remembered[Grounds] = Remembered()
        self.due = float("inf")

    def keys(self, now: float) -> KeySet | None:
        return self._keys

    def may_ask(self, now: float) -> bool:
        return False

    def renew(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        raise AssertionError("is never due")


class FetchedKeys:
    """Keys of a URL. Owns its set and the one fetch that is under way."""

    __slots__ = (
        "__weakref__",
        "_algorithms",
        "_asked",
        "_clock",
        "_fetcher",
        "_keys",
        "_refresh",
        "_retry_at",
        "_stale",
        "_stale_at",
        "_task",
        "_text",
        "_tls",
        "due",
        "url",
        "verified",
    )

    def __init__(
        self,
        url: str,
        algorithms: tuple[str, ...],
        *,
        fetcher: Fetcher,
        clock: Clock,
        refresh: float,
        stale: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self._algorithms = algorithms
        self._fetcher = fetcher
        self._clock = clock
        self._refresh = refresh
        self._stale = stale
        self._tls = tls
        self._keys: KeySet | None = None
        self._text = b""
        self._task: asyncio.Task[None] | None = None
        self._asked = float("-inf")  # when a fetch last began
        self._retry_at = float("-inf")
        self._stale_at = float("-inf")
        self.due = float("-inf")
        self.verified: Remembered[Grounds] = Remembered()

    def keys(self, now: float) -> KeySet | None:
        return self._keys if now < self._stale_at else None

    def may_ask(self, now: float) -> bool:
        if self._task is not None:
            return True
        if now < self._retry_at:
            return False
        return self.keys(now) is None or now >= self._asked + UNKNOWN_KID

    def renew(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        if self._task is None:
            self._asked = self._clock.monotonic()
            self.due = float("inf")  # until this one is over
            self._task = loop.create_task(self._renew())
        return self._task

    async def _renew(self) -> None:
        try:
            answer = await self._fetcher.fetch(
                "GET",
                self.url,
                fields=[(b"accept", b"application/jwk-set+json, application/json")],
                limit=LONGEST,
                tls=self._tls,
            )
            if answer.status != 200:
                raise FetchError(f"the answer has the status {answer.status}")
            keys = key_set(answer.body, self._algorithms)
        except (FetchError, SignatureError) as error:
            now = self._clock.monotonic()
            self._retry_at = self.due = now + RETRY
            kept = self.keys(now) is not None
            where = self.url.partition("?")[0]
            log.event("jwks_failed", level="warning", url=where, reason=error, kept=kept)
            if not kept:
                self._forget()
        else:
            if answer.body != self._text:
                self._forget()  # a key that is gone must not live on in what it verified
            self._keys, self._text = keys, answer.body
            now = self._clock.monotonic()
            self.due = now + self._refresh
            self._stale_at = self.due + self._stale
        finally:
            self._task = None

    def _forget(self) -> None:
        self._keys = None
        self._text = b""
        self.verified.clear()
