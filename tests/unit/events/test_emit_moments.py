"""Whatever happens when: the response passes, once, unchanged, and in time.

Store and journal are reduced here to the moment of their answer, which hypothesis chooses.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.exchanges import RecordingSource, make_exchange
from tests.support.manual_loop import ManualLoop

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config.schema import Emit
from gatepost.events.emission import compile_rule
from gatepost.events.emit import Emitter
from gatepost.events.ingest import Ingest
from gatepost.model import App
from gatepost.net.deadlines import Deadlines
from gatepost.stores.base import Accepted, Done, EventIdTaken, NewMessage, Outcome, Refused
from gatepost.stores.control import EventTypes
from gatepost.stores.directory import Directory

LIMIT = 40  # bytes of a body that is read


class Moments:
    """The store and the journal: they answer what waits when they are told to."""

    writable = True

    def __init__(self) -> None:
        self.directory = Directory()
        self.event_types = EventTypes()
        self.directory.put_app(App(key=1, id=1, name="", uid="shop"))
        self.stored: list[Done] = []
        self.journaled: list[Callable[[str], None]] = []

    def accept(self, message: NewMessage, done: Done) -> None:
        self.stored.append(done)

    def append(self, entry: object, done: Callable[[str], None]) -> None:
        self.journaled.append(done)

    def settle(self, key: str) -> None: ...

    def answer_store(self, outcome: Outcome) -> None:
        waiting, self.stored = self.stored, []
        for done in waiting:
            done(outcome)

    def answer_journal(self, reason: str) -> None:
        waiting, self.journaled = self.journaled, []
        for done in waiting:
            done(reason)


RULES = [
    Emit(app="shop", event_type="whole"),
    Emit(app="shop", event_type="head", when="response.status == 201", payload="${ {'a': 1} }"),
    Emit(app="shop", event_type="part", channels=("/orders/${response.body.id}",)),
    Emit(app="shop", event_type="quick", payload="${ {'a': 1} }", durable=False),
    Emit(app="nobody", event_type="lost"),
]
others = st.sampled_from(
    [
        ("store", Accepted(1)),
        ("store", EventIdTaken(1)),
        ("store", Refused("full")),
        ("journal", ""),
        ("journal", "full"),
        ("time", 0.3),
        ("time", 2.5),
    ]
)
pieces = st.sampled_from([b'{"id"', b":1}", b" " * 30, b"not json"])


@given(
    rules=st.lists(st.sampled_from(RULES), min_size=1, max_size=3),
    status=st.sampled_from([200, 201, 204, 500]),
    method=st.sampled_from(["POST", "HEAD"]),
    body=st.lists(pieces, max_size=4),
    known=st.booleans(),
    ends=st.sampled_from(["finish", "abort", "whole"]),
    between=st.lists(others, max_size=6),
    places=st.lists(st.integers(0, 6), min_size=6, max_size=6),
)
def test_the_response_passes_once_unchanged_and_in_time(
    rules: list[Emit],
    status: int,
    method: str,
    body: list[bytes],
    known: bool,
    ends: str,
    between: list[tuple[str, object]],
    places: list[int],
) -> None:
    if method == "HEAD" or status == 204:
        body = []
    clock = ManualClock()
    loop = ManualLoop(clock)
    moments = Moments()
    emitter = Emitter(
        [compile_rule(rule, place) for place, rule in enumerate(rules)],
        Ingest(moments, clock),  # type: ignore[arg-type]
        moments,  # type: ignore[arg-type]
        Deadlines(loop),  # type: ignore[arg-type]
        timeout=2.0,
        body_limit=LIMIT,
    )
    x, client = make_exchange(method, "/")
    stage = emitter.stage(x, client)
    assert emitter.on_request(x) is None
    source = RecordingSource()
    whole = b"".join(body)

    steps: list[tuple[str, object]] = [("begin", None), *(("send", piece) for piece in body), (ends, None)]
    if ends == "whole":
        steps = [("whole", None)]
    for place, other in zip(places, between, strict=False):
        steps.insert(min(place, len(steps)), other)

    told: list[str] = []  # what the source heard before its body ended
    with log.recorded():
        for step, value in steps:
            if step in ("finish", "abort"):
                told = list(source.calls)
                assert client.silent or told != ["pause"]  # a response that passes is not kept paused
            if step == "begin":
                stage.begin(x, status, [(b"x-a", b"b")], len(whole) if known else None, source)
            elif step == "send":
                assert isinstance(value, bytes)
                stage.send(value)
            elif step == "finish":
                stage.finish()
            elif step == "abort":
                stage.abort()
            elif step == "whole":
                stage.respond(x, status, [(b"x-a", b"b")], whole)
            elif step == "store":
                moments.answer_store(value)  # type: ignore[arg-type]
            elif step == "journal":
                moments.answer_journal(str(value))
            else:
                loop.advance(float(str(value)))
        loop.advance(2.0)  # `emit_timeout`, from the last byte on
        assert (client.status, client.fields, client.body) == (status, [(b"x-a", b"b")], whole)
        assert client.finished == (ends != "abort")
        assert client.aborted == (ends == "abort")
        assert not x.held
        assert source.calls == told  # by now it may serve another exchange
        before = list(client.calls)
        moments.answer_store(Refused("late"))
        moments.answer_journal("")
        loop.advance(10.0)
        assert client.calls == before


@pytest.mark.parametrize(("outcome", "lost"), [(Accepted(1), []), (Refused("full"), ["emit_lost"])])
def test_a_message_is_called_lost_only_once_both_have_said_no(outcome: Outcome, lost: list[str]) -> None:
    clock = ManualClock()
    loop = ManualLoop(clock)
    moments = Moments()
    emitter = Emitter(
        [compile_rule(RULES[0])],
        Ingest(moments, clock),  # type: ignore[arg-type]
        moments,  # type: ignore[arg-type]
        Deadlines(loop),  # type: ignore[arg-type]
    )
    x, client = make_exchange("POST", "/")
    stage = emitter.stage(x, client)
    emitter.on_request(x)
    with log.recorded() as events:
        stage.respond(x, 201, [], b'{"id":1}')
        loop.advance(1.25)
        moments.answer_journal("full")
        assert client.silent  # the store may take it yet
        loop.advance(0.75)
        assert client.status == 201
        assert x.notes == {"emit": "unconfirmed"}
        moments.answer_store(outcome)
    assert [event["event"] for event in events] == lost
