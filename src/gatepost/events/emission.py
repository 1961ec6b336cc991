"""One `emit` entry of a route, compiled: its condition, and the message that it makes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from gatepost.config import schema
from gatepost.errors import ExpressionError, GatepostError
from gatepost.events.rules import wrong_channel, wrong_event_type
from gatepost.expressions import (
    EXCHANGE_VARIABLES,
    ExchangeEnvironment,
    Json,
    Program,
    compile_expression,
    compile_template,
)


class Outcome:
    """What became of a rule that applied to an exchange: the words of the access record."""

    EMITTED: Final = "emitted"  # in the store
    DUPLICATE: Final = "duplicate"  # a message with this `id` was there already
    JOURNALED: Final = "journaled"  # in the journal, and soon in the store
    UNCONFIRMED: Final = "unconfirmed"  # the response passed before it was known: `durable: false`, or too slow a disk
    LOST: Final = "lost"  # neither the store nor the journal could keep it
    NOT_JSON: Final = "body-not-json"
    TOO_LARGE: Final = "body-too-large"
    COMPRESSED: Final = "body-compressed"
    STREAMED: Final = "body-streamed"  # server-sent events, or a body without a length that does not end
    TRUNCATED: Final = "body-truncated"  # the target broke off
    EXPRESSION_FAILED: Final = "expression-failed"
    WHEN_FAILED: Final = "when-failed"
    APP_UNKNOWN: Final = "app-unknown"
    INVALID: Final = "invalid-message"  # its event type, id or channels are not what a message may have


# A rule could not be followed: these are logged as well.
FAILURES: Final = frozenset(
    {
        Outcome.NOT_JSON,
        Outcome.TOO_LARGE,
        Outcome.COMPRESSED,
        Outcome.STREAMED,
        Outcome.TRUNCATED,
        Outcome.EXPRESSION_FAILED,
        Outcome.WHEN_FAILED,
        Outcome.APP_UNKNOWN,
        Outcome.INVALID,
    }
)


class Draft(NamedTuple):
    """A message as a rule made it, not yet checked."""

    app: str  # id or uid
    event_type: str
    payload: bytes
    channels: tuple[str, ...]
    event_id: str | None


class RuleError(GatepostError):
    """An `emit` entry that does not compile. `faults` are (setting, reason): `("channels[0]", "at character 3: …")`."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{setting}: {reason}" for setting, reason in faults))


class Rule(msgspec.Struct, frozen=True):
    """What `compile_rule` makes. `place` counts from 0 in the route's list."""

    place: int
    when: Program
    app: Program
    event_type: Program
    payload: Program
    channels: tuple[Program, ...]
    id: Program | None
    durable: bool
    when_needs_response: bool
    when_reads_body: bool
    reads_body: bool  # the response's
    reads_request_body: bool

    def draft(self, env: ExchangeEnvironment) -> Draft:
        """Raises ExpressionError."""
        return Draft(
            self.app.evaluate(env),
            self.event_type.evaluate(env),
            self.payload.evaluate_json(env),
            tuple([channel.evaluate(env) for channel in self.channels]),
            None if self.id is None else self.id.evaluate(env),
        )


def compile_rule(entry: schema.Emit, place: int = 0) -> Rule:
    """Raises RuleError with every fault of the entry."""
    faults: list[tuple[str, str]] = []

    def compiled(setting: str, make: Callable[[], Program]) -> Program:
        try:
            return make()
        except ExpressionError as error:
            faults.append((setting, str(error)))
            return _NOTHING

    def text(setting: str, template: str) -> Program:
        return compiled(setting, lambda: compile_template(template, EXCHANGE_VARIABLES, result="string"))

    when = compiled("when", lambda: compile_expression(entry.when, variables=EXCHANGE_VARIABLES, result="bool"))
    app = text("app", entry.app)
    event_type = text("event_type", entry.event_type)
    payload = compiled("payload", lambda: compile_template(entry.payload, EXCHANGE_VARIABLES))
    channels = tuple(text(f"channels[{n}]", channel) for n, channel in enumerate(entry.channels))
    event_id = None if entry.id is None else text("id", entry.id)
    if faults:
        raise RuleError(faults)
    faults += [
        (setting, wrong)
        for setting, program, wrong_in in (
            ("event_type", event_type, wrong_event_type),
            *((f"channels[{n}]", channel, wrong_channel) for n, channel in enumerate(channels)),
        )
        if program.constant and (wrong := wrong_in(program.evaluate({})))
    ]
    if faults:
        raise RuleError(faults)
    reads = when.references.union(
        *(program.references for program in (app, event_type, payload, *channels, event_id) if program is not None)
    )
    return Rule(
        place,
        when,
        app,
        event_type,
        payload,
        channels,
        event_id,
        entry.durable,
        any(name.startswith("response.") for name in when.references),
        "response.body" in when.references,
        "response.body" in reads,
        "request.body" in reads,
    )


def is_json(body: bytes) -> bool:
    """Whether expressions can read it: asked once one has failed, to say why."""
    try:
        Json(body).raw  # noqa: B018
    except ExpressionError:
        return False
    return True


_NOTHING: Final = compile_template("", EXCHANGE_VARIABLES)
