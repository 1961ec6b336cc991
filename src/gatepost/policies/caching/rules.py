"""The rules of RFC 9111 as functions of values: what may be stored, for how long it is fresh, what a 304 changes."""

from __future__ import annotations

from typing import Final, NamedTuple

from gatepost.config.policies.cache import CachePolicy
from gatepost.http1.messages import Fields
from gatepost.policies.caching.asked import Asked
from gatepost.policies.caching.fields import MOST, Directives, age, date, delta, directives, members, values, varying

# RFC 9110 §15.1: statuses whose answers may be kept without a word about it. 206 is not among them here: parts are
# not stored.
BY_DEFAULT: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# What a fixed `ttl` holds for.
BY_TTL: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 410})
# RFC 9111 §5.2.2.3: those whose rules for caches are followed.
UNDERSTOOD: Final = BY_DEFAULT | {302, 303, 307, 400, 401, 403, 500, 502, 503}
ERRORS: Final = frozenset({500, 502, 503, 504})  # RFC 5861 §4
SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})  # RFC 9110 §9.2.1
HEURISTIC: Final = 0.1  # of the time since Last-Modified: RFC 9111 §4.2.2


class Settings(NamedTuple):
    """What the rules need of a `cache` policy, in the form in which they need it. Seconds."""

    ttl: int | None
    heuristic: int
    stale_while_revalidate: int
    stale_if_error: int
    targets: tuple[bytes, ...]
    marked_only: bool
    set_cookie: bool


def settings(use: CachePolicy) -> Settings:
    return Settings(
        None if use.ttl is None else int(use.ttl),
        int(use.heuristic),
        int(use.stale_while_revalidate),
        int(use.stale_if_error),
        tuple(name.lower().encode() for name in use.targets),
        use.identified == "marked",
        use.set_cookie,
    )


class Kept(NamedTuple):
    """How a response is kept."""

    lifetime: int  # seconds from its generation
    stale_while_revalidate: int  # seconds past its lifetime
    stale_if_error: int
    strict: bool  # never served stale, whatever a client asks
    omitted: frozenset[bytes]  # fields that are left out
    varying: tuple[bytes, ...]


def keeping(rule: Settings, ask: Asked, *, identified: bool, status: int, fields: Fields, now: float) -> Kept | str:
    """How a response to GET is kept, or in a word why it is not (RFC 9111 §3). `now`: Unix time."""
    if status < 200 or status in (206, 304):
        return "status"
    said, targeted = _said(rule, fields)
    if ask.no_store:
        return "request-no-store"
    if b"private" in said and not said[b"private"]:
        return "private"
    vary = varying(values(fields, b"vary"))
    if vary is None:
        return "vary"
    if not rule.set_cookie and any(field[0] == b"set-cookie" for field in fields):
        return "set-cookie"
    # RFC 9111 §3.5. Whoever a policy of ours identified is authenticated just as well.
    if rule.marked_only and (identified or ask.authorization is not None) and _SHAREABLE.isdisjoint(said):
        return "authenticated"
    omitted = _listed(said, b"private") | _listed(said, b"no-cache") | _NEVER_STORED
    if rule.ttl is not None:
        if status not in BY_TTL:
            return "status"
        return Kept(rule.ttl, rule.stale_while_revalidate, rule.stale_if_error, False, omitted, vary)
    if b"must-understand" in said:
        if status not in UNDERSTOOD:
            return "must-understand"
    elif b"no-store" in said:
        return "no-store"
    lifetime = _lifetime(rule, said, targeted=targeted, status=status, fields=fields, now=now)
    validated = any(name in (b"etag", b"last-modified") for name, _ in fields)
    no_cache = b"no-cache" in said and not said[b"no-cache"]
    if lifetime is None:
        # Without a lifetime it serves only whoever validates it.
        if not (validated and (no_cache or status in BY_DEFAULT or b"public" in said)):
            return "no-lifetime"
        lifetime = 0
    if no_cache:
        lifetime = 0
    if lifetime == 0 and not validated:
        return "not-fresh"
    # RFC 9111 §4.2.4: none of these may be served stale, s-maxage included.
    strict = no_cache or not _STRICT.isdisjoint(said)
    if strict:
        return Kept(lifetime, 0, 0, True, omitted, vary)
    while_revalidate, if_error = said.get(b"stale-while-revalidate"), said.get(b"stale-if-error")
    return Kept(
        lifetime,
        rule.stale_while_revalidate if while_revalidate is None else delta(while_revalidate),
        rule.stale_if_error if if_error is None else delta(if_error),
        False,
        omitted,
        vary,
    )


def initial_age(fields: Fields, *, now: float, delay: float) -> float:
    """RFC 9111 §4.2.3: the age of a response when it came. `delay`: seconds that its target took."""
    generated = next((date(value, now) for value in values(fields, b"date")), None)
    apparent = 0 if generated is None else max(0, int(now) - generated)
    return min(float(MOST), max(float(apparent), age(values(fields, b"age")) + delay))


def merged(stored: Fields, fresh: Fields) -> Fields:
    """The fields of a stored response after a 304 (RFC 9111 §3.2): those that it has replace those of their name."""
    new = [field for field in fresh if field[0] not in _OF_THE_CONTENT]
    replaced = {name for name, _ in new}
    return [field for field in stored if field[0] not in replaced] + new


def selects(stored: Fields, fresh: Fields) -> bool:
    """Whether a 304, or the answer to HEAD, is about this stored response (RFC 9111 §4.3.4)."""
    for name in (b"etag", b"last-modified"):
        ours, theirs = values(stored, name), values(fresh, name)
        if ours and theirs:
            return ours[0].removeprefix(b"W/") == theirs[0].removeprefix(b"W/")
    return True


def conditions(fields: Fields) -> Fields:
    """What asks a target whether a stored response still holds (RFC 9111 §4.3.1); none where it has no validator."""
    tag, modified = values(fields, b"etag"), values(fields, b"last-modified")
    out: Fields = []
    if tag:
        out.append((b"if-none-match", tag[0]))
    if modified:
        out.append((b"if-modified-since", modified[0]))
    return out


def tags(fields: Fields) -> frozenset[bytes]:
    """What a response can be purged by: Surrogate-Key is separated by spaces, Cache-Tag by commas."""
    found = {tag for value in values(fields, b"surrogate-key") for tag in value.split()}
    found.update(tag for value in values(fields, b"cache-tag") for tag in members(value) if tag)
    return frozenset(found)


def _said(rule: Settings, fields: Fields) -> tuple[Directives, bool]:
    """RFC 9213 §2.2: the first field of ours that is there replaces Cache-Control, and Expires with it."""
    for name in rule.targets:
        lines = values(fields, name)
        if lines and (said := directives(lines)):
            return said, True
    return directives(values(fields, b"cache-control")), False


def _lifetime(
    rule: Settings, said: Directives, *, targeted: bool, status: int, fields: Fields, now: float
) -> int | None:
    """RFC 9111 §4.2.1 and §4.2.2; None where nothing says, and nothing may be guessed."""
    for name in (b"s-maxage", b"max-age"):
        if name in said:
            return delta(said[name])
    if not targeted:
        expires = values(fields, b"expires")
        if expires:
            until = date(expires[0], now)
            return 0 if until is None else max(0, min(MOST, until - _generated(fields, now)))
    if status in BY_DEFAULT or b"public" in said:
        modified = next((date(value, now) for value in values(fields, b"last-modified")), None)
        if modified is not None and rule.heuristic:
            return max(0, min(rule.heuristic, int((_generated(fields, now) - modified) * HEURISTIC)))
    return None


def _generated(fields: Fields, now: float) -> int:
    found = next((date(value, now) for value in values(fields, b"date")), None)
    return int(now) if found is None else found


def _listed(said: Directives, name: bytes) -> frozenset[bytes]:
    """The fields that `no-cache="…"` or `private="…"` names (RFC 9111 §5.2.2.4, §5.2.2.7)."""
    argument = said.get(name)
    return frozenset(part.lower() for part in members(argument) if part) if argument else _NONE


_NONE: Final[frozenset[bytes]] = frozenset()
_SHAREABLE: Final = frozenset({b"public", b"s-maxage", b"must-revalidate"})
_STRICT: Final = frozenset({b"must-revalidate", b"proxy-revalidate", b"s-maxage"})
# Age is made anew for each answer. RFC 9111 §3.1: what is said to one proxy is not stored.
_NEVER_STORED: Final = frozenset({b"age", b"proxy-authentication-info"})
# RFC 9111 §3.2: a 304 must not change what says how the stored content is to be read.
_OF_THE_CONTENT: Final = frozenset({b"content-encoding", b"content-length", b"content-md5", b"content-range", b"etag"})
