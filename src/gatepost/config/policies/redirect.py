"""`redirect`: the client is sent to another URL."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import Strict, Template


class RedirectPolicy(Strict, frozen=True):
    to: Template  # a path, or a URL whose host is fixed; holes are escaped
    status: Literal[301, 302, 303, 307, 308] = 307
    keep_query: bool = True  # the request's query goes along
    pattern: str | None = None  # only paths like this are redirected; its captures are `${match.NAME}`
