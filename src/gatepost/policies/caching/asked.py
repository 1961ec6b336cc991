"""What a request says of caching. Pure."""

from __future__ import annotations

from typing import Final

from gatepost.http1.messages import Fields
from gatepost.policies.caching.fields import delta, directives


class Asked:
    """Of one request. `PLAIN` is what most of them say: nothing."""

    __slots__ = (
        "authorization",
        "conditional",
        "if_modified_since",
        "if_none_match",
        "if_range",
        "max_age",
        "max_stale",
        "min_fresh",
        "no_cache",
        "no_store",
        "only_if_cached",
        "precondition",
        "range",
        "stale_if_error",
    )

    def __init__(self) -> None:
        self.no_cache = self.no_store = self.only_if_cached = False
        self.max_age: int | None = None  # seconds, as all of these
        self.min_fresh = 0
        self.max_stale = 0
        self.stale_if_error = 0  # RFC 5861 §4
        self.if_none_match: list[bytes] = []
        self.if_modified_since: bytes | None = None
        self.conditional = False
        self.precondition = False  # one that only the origin can judge: If-Match, If-Unmodified-Since
        self.range: bytes | None = None
        self.if_range: bytes | None = None
        self.authorization: bytes | None = None


PLAIN: Final = Asked()


def asked(fields: Fields, *, obeyed: bool) -> Asked:
    """`obeyed`: its directives count. Two of them count always: `no-store` of what may be kept, `only-if-cached` of
    where it may go."""
    for name, _ in fields:
        if name in _ASKS:
            return _read(fields, obeyed)
    return PLAIN


_ASKS: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)


def _read(fields: Fields, obeyed: bool) -> Asked:
    out = Asked()
    lines: list[bytes] = []
    for name, value in fields:
        if name not in _ASKS:
            continue
        value = value.strip(b" \t")
        if name == b"cache-control":
            lines.append(value)
        elif name == b"if-none-match":
            out.if_none_match.append(value)
        elif name == b"if-modified-since":
            out.if_modified_since = value
        elif name == b"range":
            out.range = value
        elif name == b"if-range":
            out.if_range = value
        elif name == b"authorization":
            out.authorization = value
        else:
            out.precondition = True
    out.conditional = bool(out.if_none_match) or out.if_modified_since is not None
    if lines:
        said = directives(lines)
        out.no_store = b"no-store" in said
        out.only_if_cached = b"only-if-cached" in said
        if obeyed:
            out.no_cache = b"no-cache" in said
            out.max_age = delta(said[b"max-age"]) if b"max-age" in said else None
            out.min_fresh = delta(said.get(b"min-fresh", b""))
            out.stale_if_error = delta(said.get(b"stale-if-error", b""))
            if b"max-stale" in said:
                # RFC 9111 §5.2.1.2: without a number, however stale.
                out.max_stale = delta(said[b"max-stale"] or b"9999999999")
    return out


def without_conditions(fields: Fields, added: Fields) -> Fields:
    """A request's fields with our own conditions in place of the client's."""
    return [field for field in fields if field[0] not in _CONDITIONS] + added


_CONDITIONS: Final = frozenset({b"if-none-match", b"if-modified-since"})
