"""`version`: which version of an API a request means."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import Header, Name, Path, ServiceName, Strict


class Version(Strict, frozen=True):
    service: ServiceName | None = None  # none: the route's
    prefix: Path | None = None  # put before the path
    deprecated: str | None = None  # a date, "2027-01-31", or a time in UTC, "2027-01-31T12:00:00Z"
    sunset: str | None = None  # the same
    link: str | None = None  # a page that tells about it


class VersionPolicy(Strict, frozen=True):
    versions: dict[Name, Version]
    header: Header | None = None  # one of these three carries the version
    query: str | None = None
    path: Path | None = None  # the segment behind this path is the version, and is taken out
    default: Name | None = None  # for requests that name none; none: 404
    fallback: Name | None = None  # for those that name an unknown one; none: 404
    after_sunset: Literal["serve", "gone"] = "serve"

    def __post_init__(self) -> None:
        if not self.versions:
            raise ValueError("`versions` must name at least one")
        if sum(place is not None for place in (self.header, self.query, self.path)) != 1:
            raise ValueError("must have exactly one of `header`, `query` and `path`: it carries the version")
        if self.path is not None and self.fallback is not None:
            raise ValueError("`fallback` cannot go with `path`: a segment that is no version is part of the path")
        for setting in ("default", "fallback"):
            name = getattr(self, setting)
            if name is not None and name not in self.versions:
                raise ValueError(f"`{setting}` must be one of its versions: {', '.join(self.versions)}")
