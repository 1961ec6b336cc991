"""Secrets: written in the file, or named there as `env:NAME` or `file:PATH`. Their value never shows in a repr or
an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

MAX_FILE_BYTES: Final = 65_536


class Secret(str):
    """Text that is used like any other and printed as `'•••'`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'•••'"


def resolve(text: str, environ: Mapping[str, str], folder: Path) -> Secret:
    """The secret that `text` is or names; a file's path counts from `folder`. Raises ValueError with a reason that
    holds nothing of the value."""
    if text.startswith("env:"):
        return _from_environment(text[4:], environ)
    if text.startswith("file:"):
        return _from_file(folder / text[5:])
    if not text:
        raise ValueError("is empty; write the secret, `env:NAME` or `file:PATH`")
    return Secret(text)


def _from_environment(name: str, environ: Mapping[str, str]) -> Secret:
    value = environ.get(name)
    if value is None:
        raise ValueError(f"the environment variable `{name}` is not set; set it, or name another")
    if not value:
        raise ValueError(f"the environment variable `{name}` is empty")
    return Secret(value)


def _from_file(path: Path) -> Secret:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the file {path}: {_reason(error)}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"the file {path} is larger than {MAX_FILE_BYTES} bytes: it holds more than a secret")
    try:
        value = raw.decode().rstrip("\r\n")  # an editor's last newline is no part of a secret
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} is not UTF-8 text") from None
    if not value:
        raise ValueError(f"the file {path} is empty")
    return Secret(value)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
