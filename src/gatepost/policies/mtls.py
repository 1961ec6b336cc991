"""`mtls`: the certificate that the client showed in the TLS handshake says who it is.

Whether it is one to trust was decided in the handshake, by the authorities of the listener (`client_ca`); here is only
asked whose it is, and whether it has expired since: a connection outlives many a day.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from gatepost.config.policies.mtls import MtlsPolicy
from gatepost.errors import Problem
from gatepost.exchange import Consumer, Exchange, Phase, Policy, Response
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.credentials import UNKNOWN, Credentials
from gatepost.policies.remembered import Remembered

KINDS: Final = ("sha256", "cn", "dns", "uri", "email")
_MISSING: Final = Problem(
    401, "certificate-missing", "A client certificate is needed", "Show one in the TLS handshake."
)
_EXPIRED: Final = Problem(401, "certificate-expired", "The client certificate is not valid now")
_UNREADABLE: Final = Problem(401, "certificate-invalid", "The client certificate cannot be read")


def build(use: MtlsPolicy, context: PolicyContext) -> Mtls:
    return Mtls(use, context)


class _Owner(NamedTuple):
    """Whose a certificate is, "" where it is nobody's, and from when until when (Unix seconds)."""

    consumer: str
    begins: float
    ends: float


class Mtls(Policy):
    """Sets `x.consumer`; 401 without a certificate, 403 where it is nobody's or its consumer may not use the route."""

    name = "mtls"
    phase = Phase.IDENTIFY

    def __init__(self, config: MtlsPolicy, context: PolicyContext) -> None:
        self._owners = _owners(config)
        self._now = context.clock.now
        self._credentials = Credentials(context, self.name, "ClientCertificate")
        self._known: Remembered[_Owner] = Remembered()

    def on_request(self, x: Exchange) -> Response | None:
        certificate = x.downstream.peer_certificate()
        if certificate is None:
            return self._credentials.missing(x, _MISSING)
        now = self._now()
        digest = sha256(certificate).digest()
        owner = self._known.get(digest, now)
        if owner is None:
            try:
                owner = self._read(certificate, digest)
            except (ValueError, x509.UnsupportedGeneralNameType):
                return self._credentials.wrong(x, _UNREADABLE)
            self._known.put(digest, owner, owner.ends)
        if not owner.begins <= now < owner.ends:
            return self._credentials.wrong(x, _EXPIRED)
        if not self._owners:
            x.consumer = Consumer(owner.consumer)
            return None
        if not owner.consumer:
            return self._credentials.not_allowed(x, UNKNOWN)
        return self._credentials.admit_named(x, owner.consumer)

    def _read(self, certificate: bytes, digest: bytes) -> _Owner:
        read = x509.load_der_x509_certificate(certificate)
        fingerprint = f"sha256:{digest.hex()}"
        names = [fingerprint, *_names(read)]
        if self._owners:
            consumer = next((self._owners[name] for name in names if name in self._owners), "")
        else:
            consumer = next((name[3:] for name in names if name.startswith("cn:")), fingerprint)
        return _Owner(consumer, read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp())


def _names(certificate: x509.Certificate) -> list[str]:
    """What the certificate is called, the most particular first."""
    names: list[str] = []
    try:
        other = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        names += [f"uri:{name}" for name in other.get_values_for_type(x509.UniformResourceIdentifier)]
        names += [f"dns:{name.lower()}" for name in other.get_values_for_type(x509.DNSName)]
        names += [f"email:{name.lower()}" for name in other.get_values_for_type(x509.RFC822Name)]
    # The last common name is the most particular one; a subject with several is one that somebody may have forged
    # into another, so that only a single one counts.
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common) == 1:
        value = common[0].value
        names.append(f"cn:{value if isinstance(value, str) else value.decode('latin-1')}")
    return names


def _owners(config: MtlsPolicy) -> dict[str, str]:
    owners: dict[str, str] = {}
    for consumer, names in config.consumers.items():
        setting = f"consumers.{consumer}"
        if not names:
            raise SettingFault(setting, "names no certificate")
        for name in names:
            kind, _, value = name.partition(":")
            if kind not in KINDS or not value:
                raise SettingFault(setting, f"write a name as one of {', '.join(f'{kind}:…' for kind in KINDS)}")
            if kind == "sha256":
                value = value.replace(":", "").lower()  # as openssl prints a fingerprint
                if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
                    raise SettingFault(setting, "sha256: is followed by 64 hexadecimal digits")
            elif kind in ("dns", "email"):
                value = value.lower()
            other = owners.setdefault(f"{kind}:{value}", consumer)
            if other != consumer:
                raise SettingFault(setting, f"{name} is {other}'s too")
    return owners
