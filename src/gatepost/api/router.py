"""Where the routes of a noun stand. They are made once, at import; `control.py` puts them before a store."""

from __future__ import annotations

from fastapi import APIRouter

from gatepost.api.errors import RESPONSES


def router(prefix: str, tag: str, *, refuses: bool = True) -> APIRouter:
    """`tag` is the noun's heading in the docs. `refuses`: its routes may answer what `errors.RESPONSES` lists."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        responses=RESPONSES if refuses else None,
        strict_content_type=False,  # a body without a type is JSON
    )
