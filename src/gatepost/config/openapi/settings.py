"""What a service says of its OpenAPI description."""

from __future__ import annotations

from typing import ClassVar, Literal

from gatepost.config.policies import PolicyUse
from gatepost.config.values import File, HostPattern, Path, Strict


class OperationUse(Strict, frozen=True):
    """What is different for one operation."""

    policies: tuple[PolicyUse, ...] = ()  # beside those of all
    mock: bool | None = None
    skip: bool = False  # no route is made of it


class OpenApi(Strict, frozen=True):
    """A description and what is made of it. A plain text is the file."""

    short: ClassVar[str] = "spec"

    spec: File
    base_path: Path | None = None  # instead of the path of the description's first server
    hosts: tuple[HostPattern, ...] = ()
    prefix: str = ""  # of the names of its routes
    validate_requests: bool = True
    validate_responses: Literal["false", "log", "true"] = "false"
    mock: bool = False  # answer with the description's examples, not by the service
    policies: tuple[PolicyUse, ...] = ()  # of every route
    security: dict[str, PolicyUse] = {}  # by the name of a security scheme: the policy that stands for it
    operations: dict[str, OperationUse] = {}  # by the name of the route
