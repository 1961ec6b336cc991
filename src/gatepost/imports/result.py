"""What an import gives."""

from __future__ import annotations

import msgspec


class NotImportable(ValueError):
    """A file that is none of those that can be read."""


class Left(msgspec.Struct, frozen=True):
    """A setting that was not carried over, or not quite."""

    where: str  # the file, or the API's name
    setting: str  # a dotted path
    why: str
    nearest: str = ""  # what comes next to it here


class Imported(msgspec.Struct):
    text: str  # of gatepost.yaml
    left: list[Left]
    environment: dict[str, str]  # variables that the file names → what belongs into them
