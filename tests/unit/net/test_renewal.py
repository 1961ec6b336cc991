"""When the end of a certificate is told, and that each moment is told once."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from tests.support.certificates import Authority

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config.schema import Tls
from gatepost.net.certificates import Certificates
from gatepost.net.renewal import Renewal
from gatepost.notices import Facts

DAY = 86_400.0
END = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


class Told:
    """(event type, days) of all that was told, and the keys."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.keys: list[str] = []
        self.facts: list[Facts] = []

    def tell_once(self, event_type: str, subject: str, facts: Facts, key: str) -> None:
        self.events.append((event_type, facts.get("days")))
        self.keys.append(key)
        self.facts.append(facts)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def renewal(
    authority: Authority, days_left: float, *, since: datetime.datetime | None = None
) -> tuple[Renewal, Told, ManualClock]:
    cert, key = authority.issue("a.example", until=END, **({"since": since} if since else {}))
    clock = ManualClock(END.timestamp() - days_left * DAY)
    told = Told()
    return Renewal([Certificates(Tls(cert=cert, key=key))], told, clock), told, clock


def test_it_is_told_30_7_and_1_days_ahead_and_at_the_end_each_once(authority: Authority) -> None:
    watched, told, clock = renewal(authority, 31)
    with log.recorded() as events:
        for _ in range(31 * 24 + 5):
            watched.tell()
            clock.advance(3600)
    expiring = "certificate.expiring"
    assert told.events == [(expiring, 30), (expiring, 7), (expiring, 1), ("certificate.expired", None)]
    assert len(set(told.keys)) == 4
    assert [event["event"] for event in events] == ["certificate_expiring"] * 3 + ["certificate_expired"]
    assert told.facts[0]["until"] == "2030-01-01T00:00:00Z"
    assert told.facts[0]["names"] == "a.example"


def test_only_the_nearest_is_told_to_who_starts_late(authority: Authority) -> None:
    watched, told, _ = renewal(authority, 0.5)
    watched.tell()
    assert told.events == [("certificate.expiring", 1)]


def test_the_key_is_the_certificates_and_the_thresholds(authority: Authority) -> None:
    """Another process with the same file tells it under the same name; a renewed certificate has another."""
    cert, key = authority.issue("a.example", until=END)
    keys = []
    for _ in range(2):
        told = Told()
        clock = ManualClock(END.timestamp() - 5 * DAY)
        Renewal([Certificates(Tls(cert=cert, key=key))], told, clock).tell()
        keys += told.keys
    authority.issue("a.example", until=END)
    told = Told()
    Renewal([Certificates(Tls(cert=cert, key=key))], told, clock).tell()
    assert keys[0] == keys[1] != told.keys[0]
    assert all(len(each) < 128 for each in keys)


def test_a_certificate_that_lives_for_days_is_not_told_of_all_its_life(authority: Authority) -> None:
    watched, told, clock = renewal(authority, 6, since=END - datetime.timedelta(days=6))
    for _ in range(6 * 24):
        watched.tell()
        clock.advance(3600)
    assert told.events == [("certificate.expiring", 1)]


async def test_a_renewed_certificate_is_looked_at_anew(authority: Authority) -> None:
    watched, told, _ = renewal(authority, 5)
    with log.recorded() as events:
        await watched.look()
        authority.issue("a.example")
        await watched.look()
        await watched.look()
        await watched.look()
    assert told.events == [("certificate.expiring", 7)]
    assert [event["event"] for event in events] == ["certificate_expiring", "certificate_renewed"]
