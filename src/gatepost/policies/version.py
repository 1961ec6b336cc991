"""`version`: which version of an API a request means, and how long that one will live.

    Deprecation: @1688169599                             RFC 9745 §2.1, a structured-field date
    Sunset: Sat, 31 Dec 2027 23:59:59 GMT                RFC 8594 §3, an HTTP-date
    Link: <https://…>; rel="deprecation"; type="text/html"

The version is left in `x.notes` under `NOTE`, where a handler that has several services finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from gatepost.clock import Clock
from gatepost.config.policies.version import Version as Declared
from gatepost.config.policies.version import VersionPolicy
from gatepost.errors import Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.http1.framing import SPECIAL
from gatepost.http1.messages import FieldList, Fields
from gatepost.notices import Notices
from gatepost.policies.base import PolicyContext, SettingFault

NOTE: Final = "version"


class _Version(NamedTuple):
    name: str
    prefix: str  # without a slash at its end
    gone_at: float  # unix time; infinity: never
    told: Fields  # what every answer says of it
    lines: bytes


def build(use: VersionPolicy, context: PolicyContext) -> Version:
    return Version(use, context.route, context.notices, context.clock)


class Version(Policy):
    name = "version"
    phase = Phase.TRANSFORM

    def __init__(self, config: VersionPolicy, route: str, notices: Notices, clock: Clock) -> None:
        self._versions = {
            name: _version(name, declared, config.after_sunset == "gone") for name, declared in config.versions.items()
        }
        self._default = config.default
        self._fallback = config.fallback
        self._find = _finder(config)
        self._cut = None if config.path is None else config.path.removesuffix("/") + "/"
        self._route = route
        self._notices = notices
        self._clock = clock
        where = config.header or config.query or "path"
        known = ", ".join(self._versions)
        self._missing = Problem(404, "version-missing", "A version is needed", f"name it in {where}: {known}")
        self._unknown = Problem(404, "version-unknown", "There is no such version", f"there are {known}")
        self._gone = Problem(410, "version-gone", "This version is no longer served", f"there are {known}")

    def on_request(self, x: Exchange) -> Response | None:
        asked = self._find(x)
        name = asked or self._default
        if name is None:
            return self._refuse(x, self._missing, "")
        version = self._versions.get(name)
        if version is None:
            if self._fallback is None:
                return self._refuse(x, self._unknown, name)
            version = self._versions[self._fallback]
        x.note(NOTE, version.name)
        if version.gone_at <= self._clock.now():
            return self._refuse(x, self._gone, version.name)
        if self._cut is not None and asked:
            self._move(x, x.path[: len(self._cut)] + x.path[len(self._cut) + len(asked) + 1 :])
        if version.prefix:
            self._move(x, version.prefix + x.path)
        return None

    def on_response(self, x: Exchange) -> None:
        name = x.notes.get(NOTE) if x.notes is not None else None
        if type(name) is not str:
            return
        version = self._versions[name]
        if version.told:
            fields = x.response_fields
            told = version.told
            x.response_fields = fields.plus(told, version.lines) if type(fields) is FieldList else [*fields, *told]

    def _move(self, x: Exchange, path: str) -> None:
        x.path = path
        x.head.target = path.encode()  # a service with `path: raw` is sent this one

    def _refuse(self, x: Exchange, refusal: Problem, version: str) -> Response:
        facts: dict[str, str | int | float | bool | None] = {
            "route": self._route,
            "version": version[:64],
            "reason": refusal.slug,
            "consumer": x.consumer.id if x.consumer is not None else None,
        }
        self._notices.tell("version.refused", f"route:{self._route}", facts)
        return problem(x.id, refusal)


def _finder(config: VersionPolicy) -> Callable[[Exchange], str]:
    """Finds the version that a request names; empty where it names none."""
    if config.header is not None:
        header = config.header.lower().encode()
        if header in SPECIAL:
            raise SettingFault("header", f"{config.header} has a meaning of its own in HTTP and cannot carry a version")

        def of_header(x: Exchange) -> str:
            return (x.head.get(header) or b"").strip(b" \t").decode("latin-1")

        return of_header
    if config.query is not None:
        name = config.query

        def of_query(x: Exchange) -> str:
            for part in x.query.split(b"&"):
                key, _, value = part.partition(b"=")
                if unquote_plus(key.decode("latin-1")) == name:
                    return unquote_plus(value.decode("latin-1"))
            return ""

        return of_query
    assert config.path is not None
    before = config.path.removesuffix("/") + "/"
    versions = config.versions

    def of_path(x: Exchange) -> str:
        # A path always has a next segment: only one that is a version's name names a version.
        segment = x.path[len(before) :].partition("/")[0] if x.path.startswith(before) else ""
        return segment if segment in versions else ""

    return of_path


def _version(name: str, declared: Declared, goes: bool) -> _Version:
    told: Fields = []
    if declared.deprecated is not None:
        told.append((b"deprecation", b"@%d" % _time(f"versions.{name}.deprecated", declared.deprecated).timestamp()))
    gone_at = float("inf")
    if declared.sunset is not None:
        sunset = _time(f"versions.{name}.sunset", declared.sunset)
        told.append((b"sunset", format_datetime(sunset, usegmt=True).encode()))
        if goes:
            gone_at = sunset.timestamp()
    if declared.link is not None:
        link = declared.link
        if not link.startswith(("https://", "http://", "/")) or not link.isascii() or set(link) & set('<>" \r\n\t'):
            raise SettingFault(f"versions.{name}.link", "must be a URL, or a path of this host")
        for relation in ("deprecation", "sunset"):
            if getattr(declared, "deprecated" if relation == "deprecation" else "sunset") is not None:
                told.append((b"link", f'<{link}>; rel="{relation}"; type="text/html"'.encode()))
    prefix = (declared.prefix or "").removesuffix("/")
    return _Version(name, prefix, gone_at, told, b"".join([b"%b: %b\r\n" % field for field in told]))


def _time(setting: str, text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise SettingFault(setting, 'must be a date, "2027-01-31", or a time in UTC, "2027-01-31T12:00:00Z"') from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
