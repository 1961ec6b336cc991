"""Listening sockets: `host:port`, `[v6]:port` or `unix:/path`, and one line that says why not."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Final

from gatepost.errors import GatepostError

BACKLOG: Final = 1024  # the kernel cuts it to net.core.somaxconn


class ListenError(GatepostError):
    """An address cannot be listened on: one line that says which and what to do."""


def parse_address(text: str) -> tuple[str, int]:
    """`("127.0.0.1", 8080)`; for `unix:/path` the path and -1. Raises ValueError with a sentence for its author."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ValueError("'unix:' lacks a path, as in unix:/run/gatepost.sock")
        return path, -1
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address stands in brackets, as in [::1]:8080, not {text!r}")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ValueError(f"an address to listen on is host:port, [v6]:port or unix:/path, not {text!r}")
    return host, int(port)


def listen(text: str, *, backlog: int = BACKLOG) -> socket.socket:
    """A socket that listens, non-blocking. Port 0 takes a free one. `[::]` takes IPv4 as well.

    The file of a unix socket that nobody listens on any more is replaced. Raises ListenError; ValueError for an
    address that is none.
    """
    host, port = parse_address(text)
    try:
        sock = _unix(host, backlog) if port < 0 else _tcp(host, port, backlog)
    except OSError as error:
        raise ListenError(_sentence(text, error)) from None
    except UnicodeError:
        raise ListenError(f"cannot listen on {text}: this is not the name of a host") from None
    sock.setblocking(False)
    return sock


def _tcp(host: str, port: int, backlog: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        # A restart must not wait for the connections of the last process to leave TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _unix(path: str, backlog: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _abandoned(path):
                raise
            os.unlink(path)
            sock.bind(path)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _abandoned(path: str) -> bool:
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _sentence(text: str, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {text}: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {text}: the address is in use; stop the other process or choose another address"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"cannot listen on {text}: not permitted; ports below 1024 and some folders need more rights"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {text}: this machine does not have the address"
    return f"cannot listen on {text}: {os.strerror(error.errno).lower() if error.errno else error}"
