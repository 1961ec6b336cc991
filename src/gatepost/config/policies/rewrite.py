"""`rewrite`: another path for the service."""

from __future__ import annotations

from typing import ClassVar

from gatepost.config.values import Strict, Template


class RewritePolicy(Strict, frozen=True):
    short: ClassVar[str] = "path"

    path: Template  # the new path; holes are escaped
    pattern: str | None = None  # only paths like this are rewritten; its captures are `${match.NAME}`
