"""The TLS of a service: whom it believes, what it shows, and when its files are others."""

from __future__ import annotations

import os
import ssl
from typing import TypeAlias

from gatepost.config.services import UpstreamTls
from gatepost.net.tls import client_context, load_certificate

Stamps: TypeAlias = "tuple[tuple[int, int, int] | None, ...]"


def context_of(tls: UpstreamTls) -> ssl.SSLContext:
    """Raises TlsError where a file cannot be used."""
    context = client_context(verify=tls.verify, ca=tls.ca)
    if tls.minimum == "1.3":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if tls.cert is not None and tls.key is not None:
        load_certificate(context, tls.cert, tls.key)
    return context


def stamps_of(tls: UpstreamTls) -> Stamps:
    """What tells a renewed file from the one that was read: a service whose files have changed is another service."""
    return tuple(_stamp(file) for file in (tls.ca, tls.cert, tls.key) if file is not None)


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(file)
    except OSError:
        return None  # between two versions
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
