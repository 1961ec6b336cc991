"""`compress`: answers get a content coding that the client takes."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gatepost.config.values import Bytes, Strict


class CompressPolicy(Strict, frozen=True):
    codings: Annotated[tuple[Literal["gzip", "zstd", "br"], ...], msgspec.Meta(min_length=1)] = ("gzip",)
    min_size: Bytes = 1_024
    types: tuple[str, ...] = (
        "text/css",
        "text/csv",
        "text/html",
        "text/javascript",
        "text/plain",
        "text/xml",
        "application/javascript",
        "application/json",
        "application/wasm",
        "application/xml",
        "application/*+json",
        "application/*+xml",
        "image/svg+xml",
    )

    def __post_init__(self) -> None:
        for each in self.types:
            kind, slash, rest = each.partition("/")
            if not slash or not kind or not rest or "*" in kind or ("*" in rest and rest != "*" and rest[:2] != "*+"):
                raise ValueError(f"`{each}` is no media type: application/json, text/* or application/*+json")
        if len(set(self.codings)) != len(self.codings):
            raise ValueError("`codings` names one twice")
