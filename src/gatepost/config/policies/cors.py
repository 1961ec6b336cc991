"""`cors`: which pages of other origins may read the answers."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from gatepost.config.values import Header, Method, Seconds, Strict

_ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:\*\.)?[a-z0-9._-]+(?::(?:[0-9]{1,5}|\*))?|[a-z]+://\[[0-9a-f:]+\](?::[0-9]{1,5})?"
)


class CorsPolicy(Strict, frozen=True):
    origins: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]  # https://shop.example, https://*.shop.example, *
    methods: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[Header, ...] = ("Authorization", "Content-Type")  # of requests; "*": whichever is asked for
    expose: tuple[Header, ...] = ()  # of responses, beyond those that every page may read
    credentials: bool = False  # cookies and HTTP authentication of the browser
    max_age: Seconds = 600.0  # how long a browser remembers a preflight's answer
    private_network: bool = False  # pages of public networks may reach this host in a private one

    def __post_init__(self) -> None:
        for origin in self.origins:
            if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"origins: {origin!r} is no origin: write scheme://host[:port] in small letters, without a path;"
                    " `https://*.shop.example` means every name below it, `*` every origin"
                )
        if self.credentials and "*" in self.origins:
            # Fetch §3.2.5: with credentials "*" opens nothing; to echo any origin would open everything.
            raise ValueError("`credentials` cannot go with the origin `*`: name the origins")
        if self.credentials and "null" in self.origins:
            raise ValueError("`credentials` cannot go with the origin `null`: every sandboxed page has it")
