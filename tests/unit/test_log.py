"""The log: one line an event, secrets left out, never a reason to wait."""

from __future__ import annotations

import io
import json
import threading

from gatepost import log


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line() -> None:
    stream = io.StringIO()
    own = log.Log(stream)
    own.event("emit_failed", level="error", route="a\nb", request_id=b"abc", count=3, why=ValueError("no\x1b[31m"))
    own.flush()
    (line,) = lines_of(stream)
    assert line["event"] == "emit_failed"
    assert line["level"] == "error"
    assert line["route"] == "a\nb"
    assert line["count"] == 3
    assert line["request_id"] == "abc"
    assert line["why"] == "no\\x1b[31m"
    assert str(line["time"]).endswith("Z")


def test_what_nobody_expected_says_where_it_was() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        said = log.fault(error)
    assert said["reason"] == "KeyError: 'x'"
    assert "test_log.py:" in said["where"]


def test_what_is_named_like_a_credential_is_not_written() -> None:
    stream = io.StringIO()
    own = log.Log(stream)
    own.event("made", admin_token="t0p", key="k1", secret="whsec_x", monkey="fine")
    own.flush()
    text = stream.getvalue()
    assert "t0p" not in text
    assert "k1" not in text
    assert "whsec_x" not in text
    assert "fine" in text


def test_a_stalled_stream_costs_lines_not_time() -> None:
    go = threading.Event()

    class Stalled(io.StringIO):
        def write(self, text: str) -> int:
            go.wait(10)
            return super().write(text)

    stream = Stalled()
    own = log.Log(stream, capacity=5)
    for n in range(100):
        own.event("e", n=n)
    go.set()
    own.flush()
    own.event("last")
    own.flush()
    lines = lines_of(stream)
    dropped = sum(int(str(line["lines"])) for line in lines if line["event"] == "log_dropped")
    assert len([line for line in lines if line["event"] == "e"]) + dropped == 100
    assert dropped >= 90


def test_a_terminal_gets_a_short_line() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    own = log.Log(stream)
    own.event("journal_replayed", messages=3, note="a\x1b]0;b")
    own.flush()
    assert "journal_replayed" in stream.getvalue()
    assert "messages=3" in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()


def test_recorded_events_are_a_list() -> None:
    with log.recorded() as events:
        log.event("x", a=1)
    assert events == [{"event": "x", "level": "info", "a": 1}]
