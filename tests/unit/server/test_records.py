from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.exchanges import NoHandler, make_exchange

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.errors import GatepostError
from gatepost.exchange import Consumer, Exchange, Route
from gatepost.server.records import BATCH, AccessLog


class Loop:
    """Timers that fire when they are told to."""

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def call_later(self, delay: float, callback: Any) -> None:
        self.timers.append(callback)

    def fire(self) -> None:
        timers, self.timers = self.timers, []
        for callback in timers:
            callback()


@pytest.fixture
def loop() -> Loop:
    return Loop()


def ended(loop: Loop, clock: ManualClock, target: str = "/orders?token=s3cret") -> Exchange:
    x, _ = make_exchange("POST", target, [], b"12345", loop=loop)  # type: ignore[arg-type]
    x.started = clock.monotonic()
    return x


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_record_says_where_it_went_and_how_long_each_part_took(tmp_path: Path, loop: Loop) -> None:
    clock = ManualClock(now=1_700_000_000.25, monotonic=1000.0)
    access = AccessLog(schema.AccessLog(output=str(tmp_path / "log")), clock)
    x = ended(loop, clock)
    x.route = Route("create-order", NoHandler(), service="orders")
    x.consumer = Consumer("web-shop")
    x.target = "http://127.0.0.1:9000"
    x.status, x.bytes_in, x.bytes_out = 201, 5, 64
    x.sent_upstream, x.first_byte = 1000.125, 1000.625
    x.trace = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    x.note("emit", "emitted")
    access.record(x, 1000.75)
    assert access.close()

    assert lines(tmp_path / "log") == [
        {
            "time": "2023-11-14T22:13:20.250Z",
            "id": "req-1",
            "client": "192.0.2.1",
            "method": "POST",
            "host": "gateway.test",
            "path": "/orders",
            "route": "create-order",
            "service": "orders",
            "target": "http://127.0.0.1:9000",
            "consumer": "web-shop",
            "status": 201,
            "bytes_in": 5,
            "bytes_out": 64,
            "duration_ms": 750.0,
            "upstream_ms": 500.0,
            "gateway_ms": 250.0,
            "outcome": "",
            "emit": "emitted",
            "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
        }
    ]


def test_a_record_never_holds_the_query(tmp_path: Path, loop: Loop) -> None:
    clock = ManualClock()
    access = AccessLog(schema.AccessLog(output=str(tmp_path / "log")), clock)
    access.record(ended(loop, clock), clock.monotonic())
    access.close()
    assert "s3cret" not in (tmp_path / "log").read_text()


def test_what_a_client_sends_cannot_forge_a_line(tmp_path: Path, loop: Loop) -> None:
    clock = ManualClock()
    access = AccessLog(schema.AccessLog(output=str(tmp_path / "log")), clock)
    x = ended(loop, clock)
    x.head.host = b'a"}\n{"status": 200}\xff'
    access.record(x, clock.monotonic())
    access.close()
    (line,) = lines(tmp_path / "log")
    assert line["host"] == 'a"}\n{"status": 200}ÿ'


def test_records_wait_for_a_batch_or_a_moment(tmp_path: Path, loop: Loop) -> None:
    clock = ManualClock()
    access = AccessLog(schema.AccessLog(output=str(tmp_path / "log")), clock)
    for _ in range(BATCH + 3):
        access.record(ended(loop, clock), clock.monotonic())
    assert len(loop.timers) == 1, "one timer, whatever the number of records"
    loop.fire()
    assert access._records == []
    access.close()
    assert len(lines(tmp_path / "log")) == BATCH + 3


def test_a_stalled_reader_stops_nothing_and_what_is_dropped_is_counted(tmp_path: Path, loop: Loop) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    clock = ManualClock()
    access = AccessLog(schema.AccessLog(output=str(fifo), buffer_records=3_000), clock)
    x = ended(loop, clock)
    for _ in range(5_000):  # some 1.5 MB into a pipe of 64 KiB that nobody reads
        access.record(x, clock.monotonic())
    assert access.dropped >= 5_000 - 3_000 - BATCH
    loop.fire()

    received = bytearray()
    os.set_blocking(reader, True)

    def read() -> None:
        while data := os.read(reader, 1 << 16):
            received.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    tried = 5_000
    while access.dropped:  # it flows again
        access.record(x, clock.monotonic())
        tried += 1
    assert access.close(timeout=10)
    thread.join()
    os.close(reader)

    written = [json.loads(line) for line in received.splitlines()]
    gaps = [line["dropped"] for line in written if "dropped" in line]
    assert len(gaps) == 1
    assert len(written) - 1 + gaps[0] == tried, "every exchange is a line or is counted"


def test_a_reader_that_never_comes_back_does_not_keep_the_process(tmp_path: Path, loop: Loop) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    clock = ManualClock()
    access = AccessLog(schema.AccessLog(output=str(fifo)), clock)
    x = ended(loop, clock)
    for _ in range(2_000):
        access.record(x, clock.monotonic())
    assert access.close(timeout=0.01) is False
    with log.recorded():
        os.close(reader)  # EPIPE: the writer's thread ends
        access._writer.join(10)
    assert not access._writer.is_alive()


def test_a_rotated_file_is_opened_again(tmp_path: Path, loop: Loop) -> None:
    file = tmp_path / "log"
    clock = ManualClock()
    access = AccessLog(schema.AccessLog(output=str(file)), clock)
    access.record(ended(loop, clock, "/before"), clock.monotonic())
    access.flush()
    while not file.read_bytes():  # the writer is on its way
        pass
    file.rename(tmp_path / "log.1")
    access.record(ended(loop, clock, "/still-before"), clock.monotonic())
    access.reopen()
    access.record(ended(loop, clock, "/after"), clock.monotonic())
    access.close()
    assert [line["path"] for line in lines(tmp_path / "log.1")] == ["/before", "/still-before"]
    assert [line["path"] for line in lines(file)] == ["/after"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0


def test_a_file_that_cannot_be_opened_again_is_kept(tmp_path: Path, loop: Loop) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    clock = ManualClock()
    access = AccessLog(schema.AccessLog(output=str(folder / "log")), clock)
    folder.rename(tmp_path / "moved")
    with log.recorded() as events:
        access.reopen()
        access.record(ended(loop, clock), clock.monotonic())
        access.close()
    assert len(lines(tmp_path / "moved" / "log")) == 1
    assert [event["event"] for event in events] == ["access_log_failed"]


def test_a_full_disk_is_said_once(tmp_path: Path, loop: Loop) -> None:
    clock = ManualClock()
    with log.recorded() as events:
        access = AccessLog(schema.AccessLog(output="/dev/full"), clock)
        for _ in range(3):
            access.record(ended(loop, clock), clock.monotonic())
            access.flush()
        access.close()
    assert [(event["event"], event["records"]) for event in events] == [("access_log_failed", 1)]


def test_a_file_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(GatepostError, match=r"access_log\.output: cannot write .*no/log: No such file"):
        AccessLog(schema.AccessLog(output="no/log"), folder=tmp_path)


def test_a_relative_path_counts_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    access = AccessLog(schema.AccessLog(output="log"), folder=tmp_path)
    assert access.close()
    assert (tmp_path / "log").exists()


def test_after_closing_nothing_is_taken(tmp_path: Path, loop: Loop) -> None:
    clock = ManualClock()
    access = AccessLog(schema.AccessLog(output=str(tmp_path / "log")), clock)
    assert access.close()
    access.record(ended(loop, clock), clock.monotonic())
    assert access.close(), "closing twice is no error"
    assert lines(tmp_path / "log") == []
