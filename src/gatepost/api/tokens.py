"""The administrator's token: made at the first start, kept in a file that only its owner can read.

The file is the token's only place. It is read at each start; to change the token, delete the file and start again.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from gatepost.config.secrets import Secret
from gatepost.errors import GatepostError

PREFIX: Final = "gp_admin_"
SHORTEST: Final = 32  # characters of a token that an operator chose
LONGEST: Final = 512


def load_or_create(file: Path) -> Secret:
    """The token in `file`; a new one, written there first, where there is no such file.

    Raises GatepostError, with the way out, where the file can be read by others, belongs to someone else, holds no
    token, or cannot be read or written.
    """
    try:
        return _read(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise GatepostError(f"cannot read the admin token's file {file}: {error.strerror}") from None
    token = Secret(PREFIX + secrets.token_urlsafe(32))
    try:
        _write(file, token)
    except FileExistsError:
        return _read(file)  # another process was faster, and its token stands
    except OSError as error:
        raise GatepostError(f"cannot write the admin token's file {file}: {error.strerror}") from None
    return token


def _read(file: Path) -> Secret:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        # The open file is asked, not the path: what is checked is what is read.
        about = os.fstat(opened.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise GatepostError(f"the admin token's file {file} is not a plain file; delete it and start again")
        if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise GatepostError(f"others can read the admin token's file {file}; run: chmod 600 {file}")
        if about.st_uid not in (os.geteuid(), 0):
            raise GatepostError(
                f"the admin token's file {file} belongs to another user; run: chown {os.geteuid()} {file}"
            )
        raw = opened.read(LONGEST + 3)
    token = raw.rstrip(b"\r\n")
    if not SHORTEST <= len(token) <= LONGEST or any(not 0x21 <= byte <= 0x7E for byte in token):
        raise GatepostError(
            f"the admin token's file {file} holds no token (one line of {SHORTEST} to {LONGEST} visible characters); "
            "delete it and start again, and a new one is made"
        )
    return Secret(token.decode("ascii"))


def _write(file: Path, token: str) -> None:
    """Whole or not at all, and never over another file: written beside it, then linked under its name."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as opened:
            opened.write(token.encode() + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        os.link(beside, file)
    finally:
        os.unlink(beside)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
