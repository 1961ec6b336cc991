"""`cache`: answers from memory where RFC 9111 lets a shared cache give them.

    on_request   fresh → the stored response, at once      stale, and may be served → the same, renewed behind it
                 somebody asks already → wait for that     else → forwarded, with a stage before the handler
    stage        keeps the response as it passes, or answers with the stored one where the target says 304 or fails

A hit is a plain call: two look-ups in dicts, one list, one write. What is remembered lives in the node's one
`Storage` (`caching/storage.py`), so that a change through one route is seen by the others.
"""

from __future__ import annotations

import asyncio
import copy
from hashlib import blake2b
from typing import Final, TypeAlias, cast
from urllib.parse import urljoin, urlsplit

from gatepost.clock import Clock
from gatepost.config.policies.cache import CachePolicy
from gatepost.errors import Problem, ProtocolError
from gatepost.exchange import Answer, Downstream, Exchange, Phase, Policy, Response, problem
from gatepost.http1.messages import FieldList, Fields
from gatepost.http1.targets import normalise
from gatepost.policies.base import PolicyContext
from gatepost.policies.caching import answers, rules
from gatepost.policies.caching.asked import PLAIN, Asked, asked, without_conditions
from gatepost.policies.caching.fields import date, presented, values
from gatepost.policies.caching.flight import Flight, Outcome
from gatepost.policies.caching.stage import NOBODY, Stage
from gatepost.policies.caching.storage import FIELD, OVERHEAD, Entry, Fill, Key, Place, Scope, Storage
from gatepost.policies.keys import key_by
from gatepost.policies.states import States

APART: Final = 10.0  # seconds for which nobody waits for answers of a key that was not stored

_NOT_CACHED: Final = Problem(
    504, "not-in-cache", "There is no stored answer", "the request said only-if-cached; ask without it"
)
_FORWARDING_HOST: Final = b"\r\nx-forwarded-host: "

_Decision: TypeAlias = "Response | Flight | None"


def build(use: CachePolicy, context: PolicyContext) -> Cache:
    scope = context.states.get(("cache", context.route, use), Scope)
    return Cache(use, scope, storage_of(context.states), context.clock)


def storage_of(states: States) -> Storage:
    """The storage that all caches of a node share."""
    return states.get("cache", Storage)


class Cache(Policy):
    """The cache of one route."""

    name = "cache"
    phase = Phase.CACHE

    def __init__(self, use: CachePolicy, scope: Scope, storage: Storage, clock: Clock) -> None:
        """Raises ValueError where `key` is no expression."""
        self.storage = storage
        self.max_object = use.max_object
        self._scope = scope
        self._clock = clock
        self._rules = rules.settings(use)
        self._obeys = use.ttl is None
        self._own = use.identified == "own"
        self._collapse = use.collapse
        self._key_of = None
        if use.key is not None:
            try:
                key = key_by(use.key)
            except ValueError as error:
                raise ValueError(str(error).replace("by:", "key:", 1)) from None
            self._key_of = key.of
            self.needs_request_body = key.needs_body

    # A request.

    def on_request(self, x: Exchange) -> Answer:
        head = x.head
        method = head.method
        if method != b"GET" and method != b"HEAD":
            if method not in rules.SAFE:
                self._stage_of(x).expect_change()
            return None
        if head.framing or head.upgrade is not None:
            return None  # RFC 9110 §9.3.1: a body of GET means nothing that is known here
        # Heads that repeat each other share their block: what the last one asked, this one does.
        block = head.block
        seen = block.seen
        if seen is not None and seen[0] is self:
            ask = cast("Asked", seen[1])
        else:
            ask = asked(block.fields, obeyed=self._obeys)
            if seen is None:
                block.seen = (self, ask)
        key = self._key(x, ask)
        decision = self._decide(x, key, ask)
        if isinstance(decision, Flight):
            return self._wait(x, key, ask, decision)
        return decision

    def stage(self, x: Exchange, downstream: Downstream) -> Downstream:
        stage = Stage(self, downstream)
        x.note("cache", stage)
        return stage

    def on_finish(self, x: Exchange) -> None:
        if x.notes is not None and "cache" in x.notes:  # a request that was refused early has no stages
            self._stage_of(x).close()

    def _stage_of(self, x: Exchange) -> Stage:
        assert x.notes is not None
        return cast("Stage", x.notes["cache"])

    def _key(self, x: Exchange, ask: Asked) -> Key:
        head = x.head
        if x.path is head.path and x.query is head.query:
            target = head.target
        else:
            # A policy changed it. What came decides too: a service may see the path as it came (`path: raw`).
            target = b"%b %b?%b" % (head.target.partition(b"?")[0], x.path.encode(), x.query)
        extra = "" if self._key_of is None else self._key_of(x)
        if self._own and (x.consumer is not None or ask.authorization is not None):
            who = x.consumer.id if x.consumer is not None else ""
            credential = blake2b(ask.authorization, digest_size=16).hexdigest() if ask.authorization else ""
            extra = f"{who}\n{credential}\n{extra}"
        return (self._scope, extra, x.scheme, _host(x), target)

    def _decide(self, x: Exchange, key: Key, ask: Asked, *, waited: bool = False) -> _Decision:
        """A response; a flight that can be waited for; None: it is forwarded, and its response looked at."""
        storage = self.storage
        now = x.started if not waited else self._clock.monotonic()
        entry = storage.find(key, x)
        if ask is PLAIN and entry is not None and entry.fresh_until > now:
            entry.used = True
            storage.hits += 1
            x.target = "cache"
            if waited:
                return self.told(x, entry, ask, b"; fwd=uri-miss; collapsed")
            return answers.hit(entry, storage, ask, x.id, now=now, wall=0.0)
        if entry is not None and not ask.precondition and self._may_serve(x, entry, ask, key, now):
            entry.used = True
            storage.hits += 1
            x.target = "cache"
            return answers.hit(entry, storage, ask, x.id, now=now, wall=self._clock.now())
        if ask.only_if_cached:
            return problem(x.id, _NOT_CACHED, answers.field(answers.NAME + b"; fwd=uri-miss; detail=only-if-cached")[0])
        flight = storage.flights.get(key)
        alone = ask.range is not None or ask.precondition or ask.no_cache or ask.max_age is not None or ask.no_store
        if flight is not None and not alone and self._collapse:
            return flight
        self._forward(x, key, ask, entry, lead=flight is None and not alone)
        return None

    def _may_serve(self, x: Exchange, entry: Entry, ask: Asked, key: Key, now: float) -> bool:
        """RFC 9111 §4: whether a stored response may answer this request now, unasked."""
        if ask.no_cache or (ask.max_age is not None and now - entry.born > ask.max_age):
            return False
        left = entry.fresh_until - now
        if left > ask.min_fresh:
            return True
        if entry.strict or ask.min_fresh:
            return False
        if -left <= ask.max_stale:
            return True
        if -left <= entry.stale_while_revalidate:
            if key in self.storage.flights:
                return True
            # A policy behind this one (`emit`, `validate_response`) is for exchanges that have a client: it waits.
            if x.route.policies[-1] is self:
                self._refresh(x, key, entry)
                return True
        return False

    def may_serve_for_error(self, x: Exchange, entry: Entry, ask: Asked) -> bool:
        """RFC 5861 §4."""
        if entry.strict or ask.no_cache:
            return False
        past = self._clock.monotonic() - entry.fresh_until
        return past <= max(entry.stale_if_error, ask.stale_if_error)

    async def _wait(self, x: Exchange, key: Key, ask: Asked, flight: Flight) -> Response | None:
        """For the answer to the same request, which somebody else waits for already."""
        try:
            async with asyncio.timeout(self._collapse):
                while True:
                    outcome = await flight.join(x.loop)
                    if outcome is Outcome.ALONE:
                        break
                    decision = self._decide(x, key, ask, waited=True)
                    if not isinstance(decision, Flight):
                        return decision
                    flight = decision
        except TimeoutError:
            pass
        self._forward(x, key, ask, self.storage.find(key, x), lead=False)
        return None

    # Forwarding.

    def _forward(self, x: Exchange, key: Key, ask: Asked, entry: Entry | None, *, lead: bool) -> None:
        self.storage.misses += 1
        why = _why(ask, entry, other=entry is None and self.storage.holds(key))
        validating = False
        if entry is not None and not ask.precondition and ask.range is None and x.head.method == b"GET":
            conditions = rules.conditions(entry.fields)
            if conditions:
                # RFC 9111 §4.3.1. Ours for the client's: what it asked is judged by what comes of them.
                x.head.fields = without_conditions(x.head.fields, conditions)
                validating = True
        lead = lead and (validating or not ask.conditional) and x.head.method == b"GET" and not self._is_apart(key, x)
        self._arm(self._stage_of(x), x, key, ask, entry, why, lead=lead, validating=validating)

    def _arm(
        self,
        stage: Stage,
        x: Exchange,
        key: Key,
        ask: Asked,
        entry: Entry | None,
        why: bytes,
        *,
        lead: bool,
        validating: bool,
    ) -> None:
        flight = None
        if lead:
            flight = self.storage.flights[key] = Flight()
        # From now on, and not from its response on: a change that comes between makes that response an old one.
        fill = Fill(self.storage, _place(x))
        stage.arm(key, ask, fill, why=why, flight=flight, stale=entry, validating=validating)

    def _is_apart(self, key: Key, x: Exchange) -> bool:
        until = self.storage.passing.get(key)
        if until is None:
            return False
        if until > x.started:
            return True
        del self.storage.passing[key]
        return False

    def _refresh(self, x: Exchange, key: Key, entry: Entry) -> None:
        """Ask for a stale response anew, for nobody: RFC 5861 §3. The client of `x` has its answer meanwhile."""
        y = copy.copy(x)
        y.head = copy.copy(x.head)
        y.head.method = b"GET"
        y.head.fields = without_conditions(
            [each for each in x.head.fields if each[0] not in (b"range", b"if-range")], rules.conditions(entry.fields)
        )
        y.notes = None
        y.upstream = None
        y.held = False
        y.downstream = stage = Stage(self, NOBODY)
        validating = bool(rules.conditions(entry.fields))
        self._arm(stage, y, key, PLAIN, entry, b"stale", lead=True, validating=validating)
        x.route.handler.handle(y)

    # For the stages.

    def keeping(self, x: Exchange, status: int, fields: Fields, ask: Asked) -> rules.Kept | str:
        identified = x.consumer is not None
        return rules.keeping(
            self._rules, ask, identified=identified, status=status, fields=fields, now=self._clock.now()
        )

    def store(
        self, x: Exchange, key: Key, status: int, fields: Fields, kept: rules.Kept, body: bytes, fill: Fill
    ) -> Entry | None:
        """None where what it answers changed while it came, or where there is no room for it."""
        if fill.spoiled:
            return None
        clock = self._clock
        now, wall = clock.monotonic(), clock.now()
        out = FieldList()
        for each in fields:
            if each[0] not in kept.omitted:
                out.append(each)
                if each[0] == b"date":
                    out.dated = True
        if not out.dated:
            # RFC 9110 §6.6.1: what is stored has the time at which it came.
            out.append((b"date", answers.http_date(wall)))
            out.dated = True
        came = x.first_byte or now
        entry = Entry()
        entry.key = key
        entry.place = fill.place
        entry.query = x.head.query
        entry.status = status
        entry.fields = out
        entry.body = body
        entry.born = came - rules.initial_age(fields, now=wall - (now - came), delay=came - (x.sent_upstream or came))
        entry.fresh_until = entry.born + kept.lifetime
        entry.stale_while_revalidate = kept.stale_while_revalidate
        entry.stale_if_error = kept.stale_if_error
        entry.strict = kept.strict
        entry.varying = tuple((name, presented(x.head, x.forwarding, name)) for name in kept.varying)
        entry.tags = rules.tags(fields)
        entry.etag = next(iter(values(out, b"etag")), None)
        modified = values(out, b"last-modified") or values(out, b"date")
        entry.modified = date(modified[0], wall)
        entry.used = False
        entry.served = None
        entry.encoded = None
        lines = sum(len(name) + len(value) + 4 for name, value in out)
        # Its lines are made when it is first served; the URL stands in the key and in the place.
        entry.size = len(body) + 2 * lines + FIELD * len(out) + 2 * len(key[4]) + OVERHEAD
        return entry if self.storage.put(entry) else None

    def freshen(self, x: Exchange, old: Entry, fresh: Fields, ask: Asked, fill: Fill) -> Entry | None:
        """The stored response with the fields of a 304, or of an answer to HEAD: RFC 9111 §3.2. None where it is
        not stored any more."""
        if not values(fresh, b"date"):
            fresh = [*fresh, (b"date", answers.http_date(self._clock.now()))]  # the stored one is of another time
        fields = rules.merged(old.fields, fresh)
        kept = self.keeping(x, old.status, fields, ask)
        if isinstance(kept, str):
            self.storage.remove(old)
            return None
        return self.store(x, old.key, old.status, fields, kept, old.body, fill)

    def is_fresh(self, entry: Entry) -> bool:
        return entry.fresh_until > self._clock.monotonic()

    def told(self, x: Exchange, entry: Entry, ask: Asked, status: bytes) -> Response:
        clock = self._clock
        return answers.told(entry, ask, x.id, answers.NAME + status, now=clock.monotonic(), wall=clock.now())

    def pass_on(self, key: Key) -> None:
        self.storage.pass_on(key, self._clock.monotonic() + APART)

    def landed(self, key: Key, flight: Flight, outcome: Outcome) -> None:
        if self.storage.flights.get(key) is flight:
            del self.storage.flights[key]
        flight.end(outcome)

    def invalidate(self, x: Exchange, fields: Fields) -> None:
        """RFC 9111 §4.4: what was changed, and what the answer says is it."""
        place = _place(x)
        self.storage.invalidate(place)
        base = f"http://{place.host.decode('latin-1')}{place.path}"
        for name in (b"location", b"content-location"):
            for value in values(fields, name):
                other = _named(base, value)
                if other is not None:
                    self.storage.invalidate(other)


def _why(ask: Asked, entry: Entry | None, *, other: bool) -> bytes:
    """RFC 9211 §2.2."""
    if entry is None:
        return b"vary-miss" if other else b"uri-miss"
    if ask.no_cache or ask.precondition or ask.range is not None or ask.max_age is not None or ask.min_fresh:
        return b"request"
    return b"stale"


def _host(x: Exchange) -> bytes:
    """The host that the client asked for: a trusted proxy may say another than Host."""
    if x.trusted:
        return x.forwarding.partition(_FORWARDING_HOST)[2].partition(b"\r\n")[0] or x.head.host
    return x.head.host


def _place(x: Exchange) -> Place:
    return Place(_host(x), x.head.path)


def _named(base: str, value: bytes) -> Place | None:
    """The place of the same origin that a Location names."""
    try:
        url = urlsplit(urljoin(base, value.decode("latin-1")))
        path = normalise((url.path or "/").encode("latin-1"))
    except (ValueError, ProtocolError):
        return None
    place = Place(url.netloc.lower().encode("latin-1"), path)
    return place if base.startswith(f"http://{url.netloc.lower()}/") else None
