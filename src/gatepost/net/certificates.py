"""What a listener shows: certificates by the name that a client asks for (SNI), replaced while it serves.

Every handshake begins in one context, which holds the keys of session tickets and stays as long as the listener does,
and goes on in the context of the certificate that was chosen. Replacing a certificate replaces that second context:
handshakes under way keep theirs.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gatepost.config.schema import Tls
from gatepost.net.tls import TlsError, listener_context, load_certificate, trust

Files: TypeAlias = tuple[str, str]  # certificate with its chain, key
Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]  # (mtime, size, inode) of each file; None: not there


class Certificate(NamedTuple):
    """A certificate as it is shown. `since` and `until` are its notBefore and notAfter in Unix seconds."""

    file: str
    names: tuple[str, ...]  # of its subjectAltName: `example.com`, `*.example.com`
    serial: str  # hexadecimal
    fingerprint: str  # SHA-256, hexadecimal
    since: float
    until: float


class _Pair(NamedTuple):
    context: ssl.SSLContext
    certificate: Certificate
    stamp: Stamp  # of the files, taken before they were read
    stale: bool = False  # the files are others by now, and could not be used


class Shown:
    """What one configuration shows. Immutable."""

    __slots__ = ("any_label", "client_ca", "default", "exact", "pairs", "tls")

    def __init__(self, tls: Tls, pairs: dict[Files, _Pair]) -> None:
        self.tls = tls
        self.pairs = pairs
        first = next(iter(pairs.values()))
        self.default = first.context
        self.client_ca = (tls.client_ca, first.stamp[2:])
        self.exact: dict[str, ssl.SSLContext] = {}
        self.any_label: dict[str, ssl.SSLContext] = {}  # `*.example.com` under `example.com`
        for pair in pairs.values():
            for name in pair.certificate.names:
                # Of two with the same name, the first in the file is shown.
                if name.startswith("*."):
                    self.any_label.setdefault(name[2:], pair.context)
                else:
                    self.exact.setdefault(name, pair.context)


class Certificates:
    """The certificates of one listener. Owned by the app; `context` is for `create_server`.

    Raises TlsError where a file cannot be used.
    """

    def __init__(self, tls: Tls) -> None:
        self._shown = _read_all(tls, {})
        self._seen = self._stamps(self._shown)
        self._trusted_since = 0.0  # Unix seconds: when the authorities of clients last changed
        self.context = listener_context(client_auth=client_auth(tls))
        self.context.sni_callback = self._choose

    @property
    def certificates(self) -> list[Certificate]:
        return [pair.certificate for pair in self._shown.pairs.values()]

    @property
    def files(self) -> set[str]:
        """Certificates and keys. (What `client_ca` names may be somebody else's file as well.)"""
        return {file for pair in self._shown.pairs for file in pair}

    def read(self, tls: Tls) -> Shown:
        """What `tls` names; what is known and has not changed on disk is not read again. Raises TlsError.

        Whether clients must show a certificate is the listener's for its life."""
        return _read_all(tls, self._shown.pairs if tls.client_ca == self._shown.tls.client_ca else {})

    def show(self, shown: Shown) -> None:
        """From the next handshake on."""
        self._replace(shown)
        self._seen = self._stamps(shown)

    def changed(self) -> bool:
        """Whether a file is another than the one that was read, and has stood still since the last look: who writes
        two files is given time to write both. Costs 4 µs a file."""
        last, self._seen = self._seen, self._stamps(self._shown)
        return self._seen == last and any(
            stamp != pair.stamp for stamp, pair in zip(last, self._shown.pairs.values(), strict=True)
        )

    def renew(self) -> tuple[list[Certificate], list[TlsError]]:
        """Show what has changed on disk, from the next handshake on: (the new ones, what is wrong with others). A
        pair that cannot be used, half-written say, stays as it was, and is looked at again when a file changes."""
        shown = self._shown
        pairs: dict[Files, _Pair] = {}
        renewed: list[Certificate] = []
        faults: list[TlsError] = []
        for files, old in shown.pairs.items():
            pairs[files] = old
            stamp = _stamp(files, shown.tls.client_ca)
            if stamp == old.stamp:
                continue
            try:
                pairs[files] = new = _read(files, shown.tls)
                renewed.append(new.certificate)
            except TlsError as error:
                faults.append(error)
                pairs[files] = old._replace(stamp=stamp, stale=True)
        self._replace(Shown(shown.tls, pairs))
        return renewed, faults

    def _replace(self, shown: Shown) -> None:
        if shown.client_ca != self._shown.client_ca:
            self._trusted_since = time.time()
        self._shown = shown

    def _choose(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        shown = self._shown
        if shown.tls.client_ca is not None and handshake.session_reused and self._outdated(handshake):
            # The client forgets the session (RFC 5246 §7.2.2), and shows its certificate with the next connection.
            return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
        if name is None:
            handshake.context = shown.default
            return None
        name = name.lower()
        # RFC 6125 §6.4.3: a wildcard stands for exactly one label.
        handshake.context = shown.exact.get(name) or shown.any_label.get(name.partition(".")[2]) or shown.default
        return None

    def _outdated(self, handshake: ssl.SSLObject | ssl.SSLSocket) -> bool:
        """A resumed session's client is not verified again, though its authority may be trusted no longer. TLS 1.3
        resumes none where clients show certificates (`listener_context`); TLS 1.2 from memory, which nothing here can
        turn off, for two hours."""
        session = handshake.session
        return session is None or session.time <= self._trusted_since

    @staticmethod
    def _stamps(shown: Shown) -> list[Stamp]:
        return [_stamp(files, shown.tls.client_ca) for files in shown.pairs]


def client_auth(tls: Tls) -> ssl.VerifyMode:
    """Whether clients must show a certificate."""
    if tls.client_ca is None:
        return ssl.CERT_NONE
    return ssl.CERT_OPTIONAL if tls.client_auth == "optional" else ssl.CERT_REQUIRED


def _files(tls: Tls) -> Iterator[Files]:
    """The default first."""
    yield tls.cert, tls.key
    for each in tls.certificates:
        yield each.cert, each.key


def _read_all(tls: Tls, known: dict[Files, _Pair]) -> Shown:
    pairs: dict[Files, _Pair] = {}
    for files in _files(tls):
        old = known.get(files)
        good = old is not None and not old.stale and old.stamp == _stamp(files, tls.client_ca)
        pairs[files] = old if old is not None and good else _read(files, tls)
        if files != (tls.cert, tls.key) and not pairs[files].certificate.names:
            raise TlsError(f"{files[0]} names no host (subjectAltName): no client would ever ask for it")
    return Shown(tls, pairs)


def _read(files: Files, tls: Tls) -> _Pair:
    stamp = _stamp(files, tls.client_ca)
    context = listener_context(client_auth=client_auth(tls))
    load_certificate(context, *files)
    if tls.client_ca is not None:
        trust(context, tls.client_ca)
    return _Pair(context, _parse(files[0]), stamp)


def _parse(file: str) -> Certificate:
    try:
        with open(file, "rb") as pem:
            found = x509.load_pem_x509_certificates(pem.read())[0]  # RFC 8446 §4.4.2: the leaf comes first
        names: list[str] = []
        try:
            alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = [name.lower() for name in alternatives.get_values_for_type(x509.DNSName)]
        except x509.ExtensionNotFound:
            pass  # it can still be the default
    except (OSError, ValueError) as error:
        raise TlsError(f"{file} is not a certificate in PEM: {error}") from None
    return Certificate(
        file,
        tuple(names),
        f"{found.serial_number:x}",
        found.fingerprint(hashes.SHA256()).hex(),
        found.not_valid_before_utc.timestamp(),
        found.not_valid_after_utc.timestamp(),
    )


def _stamp(files: Files, client_ca: str | None) -> Stamp:
    return tuple(_stat(file) for file in (*files, client_ca) if file is not None)


def _stat(file: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(file)
    except OSError:
        return None  # between two versions
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
