"""User names and passwords of consumers: Argon2id (RFC 9106), checked beside the event loop.

A check takes some 20 ms and MiB on purpose, and releases the GIL. So it runs in a thread, a few at a time, and a login
that was good a moment ago is known by a keyed digest instead: the key is this process's own, so that what is kept can
be compared with nothing outside of it. The digest covers the stored hash as well: a changed password is unknown.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from gatepost.config import schema
from gatepost.policies.remembered import Remembered

WAITING: Final = 64  # checks that may wait for a thread; more are turned away
LONGEST_PASSWORD: Final = 1_024  # bytes
_THREADS: Final = 2
_MEMORY, _TIMES, _LANES = 19_456, 2, 1  # KiB; OWASP's least for Argon2id
_PHC: Final = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]{0,2}),p=([1-9][0-9]?)\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
)


class Login(NamedTuple):
    consumer: str
    hash: str  # as the PHC string format has it


def logins_of(consumers: Mapping[str, schema.Consumer]) -> dict[str, Login]:
    """By user name. Raises ValueError with a path and a reason."""
    logins: dict[str, Login] = {}
    for name, consumer in consumers.items():
        for each in consumer.basic:
            check_hash(each.argon2)
            if each.username in logins:
                raise ValueError(f"{name} has the user name of {logins[each.username].consumer}: it must be one's own")
            logins[each.username] = Login(name, str(each.argon2))
    return logins


def check_hash(phc: str) -> None:
    """Raises ValueError where `phc` is no hash that a password can be checked with."""
    match = _PHC.fullmatch(phc)
    if match is None or int(match[1]) < 8 * int(match[3]):
        raise ValueError("a login's `argon2` is not a hash like $argon2id$v=19$m=…; `gatepost key hash-password`")


def hash_password(password: str) -> str:
    """Raises ValueError where the password is empty or too long."""
    raw = password.encode()
    if not 0 < len(raw) <= LONGEST_PASSWORD:
        raise ValueError(f"a password has from 1 to {LONGEST_PASSWORD} bytes")
    salt = secrets.token_bytes(16)
    return Argon2id(salt=salt, length=32, iterations=_TIMES, lanes=_LANES, memory_cost=_MEMORY).derive_phc_encoded(raw)


class Passwords:
    """Checks passwords, and remembers those that were right. One a node: it owns its threads."""

    __slots__ = ("__weakref__", "_key", "_pool", "_waiting", "known")

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="gatepost-passwords")
        self._waiting = 0
        self.known: Remembered[bool] = Remembered()

    @property
    def busy(self) -> bool:
        return self._waiting >= WAITING

    def digest(self, credential: bytes, phc: str) -> bytes:
        return blake2b(credential + b"\0" + phc.encode(), key=self._key, digest_size=32).digest()

    async def match(self, password: bytes, phc: str) -> bool:
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _matches, password, phc)
        finally:
            self._waiting -= 1


def _matches(password: bytes, phc: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password, phc)
    except InvalidKey:
        return False
    return True
