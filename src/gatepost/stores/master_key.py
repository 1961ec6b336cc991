"""The master key, under which the store's data keys are sealed: `encryption_key` of the configuration, or a file beside
the store that is made at the first start and that only its owner can read.

While `gatepost store rekey` changes a key that stands in such a file, the new one waits beside it as `.new`, and takes
its place once the store is sealed under it. A `rekey` that was killed between the two is ended by the next start.
"""

from __future__ import annotations

import os
import secrets
import stat
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from gatepost.config.units import key_bytes
from gatepost.errors import StoreUnavailable
from gatepost.stores.sealing import Sealer, Wrapped, new_key, unwrap

LONGEST = 512  # bytes of a key's file


class MasterKey:
    """Where one store's master key comes from. `given` is the text of the configuration."""

    def __init__(self, given: str | None, file: Path) -> None:
        self.given = None if given is None else key_bytes(given)
        self.file = file
        self._next = file.with_name(file.name + ".new")

    def first(self) -> bytes:
        """The key of a store that has none yet. Raises StoreUnavailable."""
        if self.given is not None:
            return self.given
        found = _read(self.file)
        if found is not None:
            return found
        key = new_key()
        _write(self.file, key)
        return _read(self.file) or key  # another process may have been faster

    def data_keys(self, rows: Sequence[Wrapped]) -> dict[int, bytes]:
        """The store's data keys. Raises StoreUnavailable, with the way out, where the key is missing or another."""
        if self.given is not None:
            found = unwrap(self.given, rows)
            if found is None:
                raise StoreUnavailable(
                    "`encryption_key` is not the key that this store was sealed with: give it that one "
                    "(`gatepost store rekey` changes the key of a store)"
                )
            return found
        key, following = _read(self.file), _read(self._next)
        if key is None and following is None:
            raise StoreUnavailable(
                f"the store is sealed, and its key's file {self.file} is not there: bring it back, or name the key "
                "with `encryption_key`"
            )
        if key is not None and (found := unwrap(key, rows)) is not None:
            return found
        if following is not None and (found := unwrap(following, rows)) is not None:
            self.take_over()
            return found
        raise StoreUnavailable(
            f"the key in {self.file} is not the one that this store was sealed with: bring that one back, or name it "
            "with `encryption_key`"
        )

    def sealer(self, rows: Sequence[Wrapped]) -> Sealer:
        return Sealer(self.data_keys(rows))

    def prepare(self) -> bytes:
        """A new key, beside the file of the old one."""
        key = new_key()
        self._next.unlink(missing_ok=True)
        _write(self._next, key)
        return key

    def take_over(self) -> None:
        """The store is sealed under the prepared key."""
        os.replace(self._next, self.file)
        _sync_folder(self.file)


def _read(file: Path) -> bytes | None:
    """None where there is no such file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(f"cannot read the key's file {file}: {error.strerror}") from None
    with open(descriptor, "rb") as opened:
        # The open file is asked, not the path: what is checked is what is read.
        about = os.fstat(opened.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise StoreUnavailable(f"the key's file {file} is not a plain file")
        if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StoreUnavailable(f"others can read the key's file {file}; run: chmod 600 {file}")
        raw = opened.read(LONGEST)
    try:
        return key_bytes(raw.decode("ascii").strip())
    except ValueError as error:
        raise StoreUnavailable(f"the key's file {file} {error}") from None


def _write(file: Path, key: bytes) -> None:
    """Whole or not at all, and never over another file: written beside it, then linked under its name."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as opened:
                opened.write(b64encode(key) + b"\n")
                opened.flush()
                os.fsync(opened.fileno())
            os.link(beside, file)
        except FileExistsError:
            return  # another process was faster, and its key stands
        finally:
            os.unlink(beside)
        _sync_folder(file)
    except OSError as error:
        raise StoreUnavailable(f"cannot write the key's file {file}: {error.strerror}") from None


def _sync_folder(file: Path) -> None:
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
