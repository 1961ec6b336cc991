"""TLS contexts. Building one reads and parses files (the system's authorities alone cost 20 ms), so it is done when a
configuration is compiled, and every connection shares it."""

from __future__ import annotations

import ssl
from typing import Final

from gatepost.errors import GatepostError
from gatepost.net.sessions import ResumingContext

# Forward secrecy and authenticated encryption only; TLS 1.3 has no others.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class TlsError(GatepostError):
    """A certificate or key file that cannot be used: one line that says which and why."""


def listener_context(*, client_auth: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
    """For a server: TLS 1.2 and up, HTTP/1.1 by ALPN; without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.verify_mode = client_auth
    if client_auth != ssl.CERT_NONE:
        # A resumed session is not verified again: a certificate that has expired, or whose authority is trusted no
        # longer, would be believed for two hours more.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def load_certificate(context: ssl.SSLContext, cert: str, key: str) -> None:
    """What handshakes in this context show. Raises TlsError."""
    for file in (cert, key):
        _readable(file)
    try:
        # A function for the password: without one OpenSSL would ask on the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"the key {key} does not belong to the certificate {cert}") from None
        raise TlsError(f"{cert} and {key} are not a certificate and its key in PEM, without a password") from None


def client_context(*, verify: bool = True, ca: str | None = None) -> ResumingContext:
    """For upstreams and webhooks. `ca` is a PEM file of the authorities to trust instead of the system's.

    `verify=False` accepts every certificate: whoever stands in between can read and change everything.
    Raises TlsError.
    """
    context = ResumingContext()
    _harden(context)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        trust(context, ca)
    return context


def trust(context: ssl.SSLContext, ca: str) -> None:
    """Believe the authorities in a PEM file, beside those that the context has already. Raises TlsError."""
    _readable(ca)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise TlsError(f"{ca} holds no certificates in PEM ({_why(error)})") from None


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])


def _readable(file: str) -> None:
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise TlsError(f"{file} cannot be read: {error.strerror}") from None


def _why(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
