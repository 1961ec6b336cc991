"""Values that must not stand on disk as they are: what webhooks are signed with, and what endpoints show to receivers.

An envelope: each value is sealed with AES-256-GCM under a *data key* of the store. The data keys stand in the store
themselves, sealed under the *master key*, which does not. So the master key is changed in one transaction, and the
values follow in small steps (`rekey`), during which both data keys open what they sealed.

A sealed value is the text `1:<data key>:<base64 of nonce, ciphertext and tag>`. Its place (column and row) is
associated data: a value that is moved to another row does not open there.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatepost.errors import StoreUnavailable

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # random: good for 2³² values under one data key (NIST SP 800-38D, 8.3)
VERSION: Final = "1"

Wrapped: TypeAlias = tuple[int, bytes]  # a data key as it stands in the store: its number, sealed under the master key
Row: TypeAlias = tuple[Any, ...]

# Where the sealed columns stand in the rows of the queries about endpoints; `id` is the second.
_COLUMNS: Final = ((8, "headers"), (9, "secrets"), (17, "settings"))


def place(column: str, identifier: int) -> bytes:
    """What a value of an endpoint is bound to."""
    return f"endpoint.{column}.{identifier}".encode()


def answer_at(name: str) -> bytes:
    """What the kept answer to a request is bound to: it may hold a key that was made, or a portal's token."""
    return f"answer.{name}".encode()


class Sealer:
    """Seals under the newest of some data keys, opens under any of them. Immutable."""

    __slots__ = ("_ciphers", "current")

    def __init__(self, data_keys: dict[int, bytes]) -> None:
        self._ciphers = {number: AESGCM(key) for number, key in data_keys.items()}
        self.current = max(data_keys, default=0)

    def seal(self, text: str, where: bytes) -> str:
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._ciphers[self.current].encrypt(nonce, text.encode(), where)
        return f"{VERSION}:{self.current}:{b64encode(sealed).decode()}"

    def open(self, sealed: str, where: bytes) -> str:
        """Raises StoreUnavailable where it was not sealed for this place under one of the keys."""
        try:
            version, number, body = sealed.split(":", 2)
            if version != VERSION:
                raise ValueError(version)
            raw = b64decode(body, validate=True)
            return self._ciphers[int(number)].decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], where).decode()
        except (ValueError, KeyError, InvalidTag, binascii.Error):
            # The value itself is not quoted: where the place is empty it may be a secret.
            raise StoreUnavailable(
                f"the store's value {where.decode()} does not open: it was changed, moved or sealed under another key"
            ) from None

    def seal_bytes(self, raw: bytes, where: bytes) -> bytes:
        return self.seal(raw.decode("latin-1"), where).encode()

    def open_bytes(self, sealed: bytes, where: bytes) -> bytes:
        """As `open`."""
        return self.open(sealed.decode("latin-1"), where).encode("latin-1")

    def is_current(self, sealed: str) -> bool:
        return sealed.startswith(f"{VERSION}:{self.current}:")

    def open_row(self, row: Sequence[Any]) -> Row:
        """A row of an endpoint with its columns opened."""
        opened = list(row)
        for column, name in _COLUMNS:
            opened[column] = self.open(row[column], place(name, row[1]))
        return tuple(opened)


class _Plain(Sealer):
    """A store without a key: for tests of other things. `serve` always has one."""

    __slots__ = ()

    def seal(self, text: str, where: bytes) -> str:
        return text

    def open(self, sealed: str, where: bytes) -> str:
        return sealed

    def seal_bytes(self, raw: bytes, where: bytes) -> bytes:
        return raw

    def open_bytes(self, sealed: bytes, where: bytes) -> bytes:
        return sealed

    def open_row(self, row: Sequence[Any]) -> Row:
        return tuple(row)


PLAIN: Final[Sealer] = _Plain({})


class Columns(NamedTuple):
    """The sealed columns of one endpoint, as they stand in its row."""

    headers: str
    secrets: str
    settings: str


def sealed(sealer: Sealer, identifier: int, plain: Columns) -> Columns:
    named = zip(plain, _COLUMNS, strict=True)
    return Columns(*(sealer.seal(text, place(name, identifier)) for text, (_, name) in named))


def resealed(sealer: Sealer, identifier: int, old: Columns) -> Columns:
    """The same values under the current data key."""
    opened = (sealer.open(text, place(name, identifier)) for text, (_, name) in zip(old, _COLUMNS, strict=True))
    return sealed(sealer, identifier, Columns(*opened))


# Data keys and the master key.


def new_key() -> bytes:
    return AESGCM.generate_key(KEY_BYTES * 8)


def wrap(master: bytes, number: int, data_key: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(master).encrypt(nonce, data_key, _name(number))


def unwrap(master: bytes, rows: Iterable[Wrapped]) -> dict[int, bytes] | None:
    """The data keys by their numbers; None where the master key is another one's."""
    cipher = AESGCM(master)
    try:
        return {
            number: cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _name(number))
            for number, wrapped in rows
        }
    except InvalidTag:
        return None


class Change(NamedTuple):
    """A step to another master key, all of it for one transaction: every data key wrapped anew, and a new one."""

    wrapped: list[Wrapped]
    sealer: Sealer


def change(master: bytes, data_keys: dict[int, bytes]) -> Change:
    keys = data_keys | {max(data_keys, default=0) + 1: new_key()}
    return Change([(number, wrap(master, number, key)) for number, key in keys.items()], Sealer(keys))


def _name(number: int) -> bytes:
    return f"data key {number}".encode()
