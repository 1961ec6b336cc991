"""A new connection to a target: dialled, its TLS handshake done, its pinned key checked."""

from __future__ import annotations

import ssl
from base64 import b64encode
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.errors import Problem, UpstreamError
from gatepost.net.dial import dial, dial_unix
from gatepost.upstream.connection import UpstreamConnection
from gatepost.upstream.targets import Target, Upstream


async def connect(upstream: Upstream, target: Target, timeout: float) -> UpstreamConnection:
    """Within `timeout` seconds. Raises UpstreamError, with the problem that `dial` names or `upstream-tls`."""

    def protocol() -> UpstreamConnection:
        return UpstreamConnection(upstream, target)

    target.dialling += 1
    try:
        if target.unix:
            _, connection = await dial_unix(protocol, target.unix, timeout=timeout)
        else:
            _, connection = await dial(
                protocol,
                target.address or target.host,
                target.port,
                tls=target.tls,
                server_name=upstream.server_name or target.host,
                resolver=upstream.resolver,
                guard=None,
                timeout=timeout,
            )
    finally:
        target.dialling -= 1
    if connection.transport.is_closing():
        # It was accepted and closed before we came to use it. Its end has been told already: an exchange that began
        # on it now would wait for ever.
        detail = f"{target.name}: it closed the connection at once"
        raise UpstreamError(Problem(502, "upstream-unreachable", "The upstream cannot be reached", detail), sent=False)
    if target.tls is not None and upstream.config.tls.pins:
        _check_pin(connection, upstream.config.tls.pins)
    return connection


def _check_pin(connection: UpstreamConnection, pins: tuple[str, ...]) -> None:
    """RFC 7469 §2.4: a pin is the SHA-256 of the SubjectPublicKeyInfo, so it outlives a renewal with the same key."""
    session: ssl.SSLObject = connection.transport.get_extra_info("ssl_object")
    certificate = session.getpeercert(binary_form=True)
    shown = ""
    if certificate is not None:
        key = x509.load_der_x509_certificate(certificate).public_key()
        shown = b64encode(sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()).decode()
    if shown not in pins:
        connection.drop()
        detail = f"{connection.target.name}: its key is none of those in `tls.pins`, but {shown or 'missing'}"
        raise UpstreamError(Problem(502, "upstream-tls", "No secure connection to the upstream", detail), sent=False)
