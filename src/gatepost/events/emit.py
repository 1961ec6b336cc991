"""`emit`: messages from exchanges. The policy; `emit_stage.py` holds the response, `made.py` follows each message.

What may go wrong, and what happens then (docs/emit.md tells it to users):

- The store cannot write when a request comes: 503, before anything is forwarded.
- The upstream has answered: its response passes, always. It is held until the message is on disk: in the store, or,
  when the store refuses it or takes longer than half of `emit_timeout`, in the journal; for `emit_timeout` at most.
- The client leaves: the exchange goes on (`x.held`), and its message is made.
- A rule cannot be followed (its expression fails, the body is not JSON …): no message, an outcome in the access
  record, a line in the log, and the response passes.

Only what a target answered makes messages: refusals of policies and the gateway's own 502 and 504 do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatepost import ids, log
from gatepost.errors import ExpressionError, Problem
from gatepost.events.emission import FAILURES, Draft, Outcome, Rule, is_json
from gatepost.events.emit_stage import Stage
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal
from gatepost.events.made import Made
from gatepost.events.rules import InvalidMessage, PayloadTooLarge
from gatepost.exchange import Downstream, Exchange, Phase, Policy, Response, problem
from gatepost.expressions import ExchangeEnvironment
from gatepost.net.deadlines import INTERVAL, Deadlines

LOG_EVERY: Final = 10.0  # seconds between two lines about the same kind of failure on a route

_STORE_DOWN: Final = Problem(
    503,
    "events-unavailable",
    "The gateway cannot keep events now",
    "nothing was forwarded; send the request again",
)


class Emitter(Policy):
    """Makes the messages of one route. Owned by a snapshot; what belongs to one exchange is in its `Stage`."""

    name = "emit"
    phase = Phase.EMIT

    def __init__(
        self,
        rules: Sequence[Rule],
        ingest: Ingest,
        journal: Journal,
        deadlines: Deadlines,
        *,
        route: str = "",
        timeout: float = 2.0,
        body_limit: int = 1_048_576,
    ) -> None:
        """`timeout` is `emit_timeout` in seconds; `body_limit` bounds the response bodies that are read."""
        self.rules = tuple(rules)
        self.needs_request_body = any(rule.reads_request_body for rule in self.rules)
        self.identity_encoding = any(rule.reads_body for rule in self.rules)
        self.ingest = ingest
        self.journal = journal
        self.deadlines = deadlines
        self.response_limit = body_limit  # not `Policy.body_limit`, which is of requests
        # A sweep comes up to INTERVAL late, and `emit_timeout` is a promise.
        self.timeout = max(0.0, timeout - INTERVAL)
        self.patience = timeout / 2
        self._route = route
        self._keys = ids.RequestIds()
        self._quiet: dict[str, tuple[float, int]] = {}  # by outcome: until when, and how many were not logged

    # Policy

    def on_request(self, x: Exchange) -> Response | None:
        possible = durable = False
        for rule in self.rules:
            if rule.when_needs_response or _may_apply(rule, x):
                possible = True
                durable = durable or rule.durable
        if durable and not self.ingest.store.writable:
            return problem(x.id, _STORE_DOWN, [(b"retry-after", b"1")])
        # From here on the upstream may act: the exchange must go on even if its client leaves.
        x.held = possible
        return None

    def on_finish(self, x: Exchange) -> None:
        x.held = False  # it was ended from outside: a stage that still waits has nothing to release

    def stage(self, x: Exchange, downstream: Downstream) -> Downstream:
        return Stage(self, downstream)

    # For the stage

    def applies(self, rule: Rule, x: Exchange, env: ExchangeEnvironment, body: bytes = b"") -> bool:
        """Raises nothing: a condition that fails is noted, and its rule does not apply."""
        try:
            return rule.when.evaluate(env) is True
        except ExpressionError as error:
            not_json = rule.when_reads_body and not is_json(body)
            self.note(x, Outcome.NOT_JSON if not_json else Outcome.WHEN_FAILED, rule, str(error))
        return False

    def note(self, x: Exchange, outcome: str, rule: Rule, reason: str = "") -> None:
        """The outcome of one rule goes into the access record; failures into the log as well, in moderation."""
        notes = x.notes
        if notes is None:
            x.notes = {"emit": outcome}
        else:
            before = notes.get("emit")
            notes["emit"] = f"{before},{outcome}" if before else outcome
        if outcome not in FAILURES:
            return
        now = self.ingest.clock.monotonic()
        until, unlogged = self._quiet.get(outcome, (0.0, 0))
        if now < until:
            self._quiet[outcome] = (until, unlogged + 1)
            return
        self._quiet[outcome] = (now + LOG_EVERY, 0)
        log.event(
            "emit_failed",
            level="error",
            route=self._route,
            rule=rule.place,
            outcome=outcome,
            reason=reason,
            request_id=x.id,
            unlogged=unlogged,
        )

    def publish(self, rule: Rule, x: Exchange, draft: Draft) -> Made | None:
        """Hand a message in; None where it may not be."""
        app = self.ingest.store.directory.app(draft.app)
        if app is None:
            self.note(x, Outcome.APP_UNKNOWN, rule, f"there is no app {draft.app[:100]!r}")
            return None
        made = Made(self.journal, app.id, draft, f"auto_emit_{self._keys.next().decode()}")
        try:
            self.ingest.publish(
                app,
                draft.event_type,
                draft.payload,
                channels=draft.channels,
                event_id=draft.event_id,
                idempotency_key=made.key,
                done=made.done,
            )
        except PayloadTooLarge as error:
            self.note(x, Outcome.TOO_LARGE, rule, str(error))
            return None
        except InvalidMessage as error:
            self.note(x, Outcome.INVALID, rule, str(error))
            return None
        return made


def _may_apply(rule: Rule, x: Exchange) -> bool:
    """Whether a condition on the request alone holds. One that fails is noted when the response comes."""
    try:
        return rule.when.evaluate(ExchangeEnvironment(x)) is True
    except ExpressionError:
        return True
