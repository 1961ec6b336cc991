"""Looks after the certificates of all listeners: renews them when their files change, says when one is about to end.

Told ahead are 30, 7 and 1 days, each once for a certificate, and its end. The key under which it is told follows from
the certificate and the threshold alone, so that a restart, or a second node, does not tell it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from gatepost import log
from gatepost.clock import Clock
from gatepost.net.certificates import Certificate, Certificates
from gatepost.notices import Facts

THRESHOLDS: Final = (1, 7, 30)  # days ahead
DAY: Final = 86_400.0


class Teller(Protocol):
    def tell_once(self, event_type: str, subject: str, facts: Facts, key: str) -> None:
        """Tell what is to be told once for ever: `key` (letters, digits, `-`, `_`, `.`) is its name."""
        ...


class Renewal:
    """Mutable, owned by the app, which calls `look` every second."""

    def __init__(self, listeners: Sequence[Certificates], teller: Teller, clock: Clock) -> None:
        self._listeners = listeners
        self._teller = teller
        self._clock = clock
        self._told: set[str] = set()

    async def look(self) -> None:
        """Renew what has changed on disk. Files are looked at and read in a thread."""
        loop = asyncio.get_running_loop()
        for each in self._listeners:
            if not await loop.run_in_executor(None, each.changed):
                continue
            renewed, faults = await loop.run_in_executor(None, each.renew)
            for certificate in renewed:
                names = list(certificate.names)
                log.event("certificate_renewed", file=certificate.file, names=names, until=_date(certificate.until))
            for fault in faults:
                log.event("certificate_refused", level="error", reason=fault, kept="the certificate that was shown")
        self.tell()

    def tell(self) -> None:
        """Say which certificates end soon, or have ended."""
        now = self._clock.now()
        for each in self._listeners:
            for certificate in each.certificates:
                threshold = _threshold(certificate, now)
                if threshold is not None:
                    self._tell(certificate, threshold)

    def _tell(self, certificate: Certificate, days: int) -> None:
        key = f"certificate.{certificate.fingerprint}.{days}"
        if key in self._told:
            return
        self._told.add(key)
        subject = f"certificate:{certificate.fingerprint[:16]}"
        until = _date(certificate.until)
        names = " ".join(certificate.names)
        facts: Facts = {"file": certificate.file, "names": names, "serial": certificate.serial, "until": until}
        if days:
            log.event("certificate_expiring", level="warning", file=certificate.file, days=days, until=until)
            self._teller.tell_once("certificate.expiring", subject, {**facts, "days": days}, key)
        else:
            log.event("certificate_expired", level="error", file=certificate.file, until=until)
            self._teller.tell_once("certificate.expired", subject, facts, key)


def _threshold(certificate: Certificate, now: float) -> int | None:
    """The days ahead that a certificate has come to; 0 when it has expired, None while all is well.

    A threshold of more than half of its whole life says nothing: some live for six days, and are renewed after three.
    """
    left = certificate.until - now
    if left <= 0:
        return 0
    life = certificate.until - certificate.since
    return next((days for days in THRESHOLDS if left < days * DAY and days * DAY * 2 <= life), None)


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
