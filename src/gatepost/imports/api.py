"""What an API is between its file and ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gatepost.imports.result import Left


@dataclass
class Endpoint:
    """What is different for one path and method of an API. `method` "" is every method."""

    path: str  # as Tyk wrote it
    method: str
    policies: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)  # of the route
    service: dict[str, Any] = field(default_factory=dict)  # what its service has beside the API's
    open: bool = False  # nobody need identify
    answer: dict[str, Any] | None = None  # a `mock`
    allowed: bool = False  # one of a list: what is on none is refused


@dataclass
class Version:
    """One version of an API's endpoints. `name` "" is the only one."""

    name: str
    target: str = ""  # instead of the API's
    endpoints: list[Endpoint] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)  # of all its routes
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Api:
    """One API. Everything that ends in our file is in our words already."""

    id: str
    name: str
    listen_path: str = "/"
    strip: bool = False
    service: dict[str, Any] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)
    auth: list[dict[str, Any]] = field(default_factory=list)
    open: bool = False  # nobody need identify
    limits: list[dict[str, Any]] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)  # of all routes, not those that identify or limit
    settings: dict[str, Any] = field(default_factory=dict)  # of all routes
    versions: list[Version] = field(default_factory=list)
    version_in: str = ""  # header, query or path
    version_key: str = ""
    default_version: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)

    def note(self, setting: str, why: str, nearest: str = "") -> None:
        self.left.append(Left(self.name, setting, why, nearest))

    def secret(self, name: str, what: str) -> str:
        """A reference to a secret that is not written down; `what` belongs into it."""
        variable = "".join(c if c.isalnum() else "_" for c in f"{self.name}_{name}".upper()).strip("_")
        variable = f"TYK_{variable}" if variable[:1].isdigit() else variable
        self.environment[variable] = what
        return f"env:{variable}"
