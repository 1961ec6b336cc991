"""Cookies of a request (RFC 6265 §4.2.1): `name=value` pairs between semicolons, in one field or in several."""

from __future__ import annotations

import re
from typing import Final

from gatepost.http1.messages import Fields, RequestHead
from gatepost.policies.base import SettingFault

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2: a token


def cookie_name(name: str | None) -> bytes | None:
    """A policy's setting `cookie`. Raises SettingFault where no cookie can be called so."""
    if name is None:
        return None
    if not _NAME.fullmatch(name):
        raise SettingFault("cookie", f"{name!r} cannot be a cookie's name")
    return name.encode()


def cookie_values(head: RequestHead, name: bytes) -> list[bytes]:
    """The values of every cookie of that name, without the quotes that may stand around them."""
    found = []
    for field in head.all(b"cookie"):
        for pair in field.split(b";"):
            key, _, value = pair.strip().partition(b"=")
            if key == name:
                found.append(value.strip(b'"'))
    return found


def without_cookie(fields: Fields, name: bytes) -> Fields:
    """The fields of a request, with all its cookies but those of that name. A new list."""
    kept: Fields = []
    for field in fields:
        if field[0] == b"cookie":
            rest = [pair for pair in field[1].split(b";") if pair.strip().partition(b"=")[0] != name]
            if not rest:
                continue
            field = (b"cookie", b";".join(rest).strip())
        kept.append(field)
    return kept
