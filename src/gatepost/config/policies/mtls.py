"""`mtls`: the caller's TLS certificate says who it is."""

from __future__ import annotations

from gatepost.config.values import Name, Strict


class MtlsPolicy(Strict, frozen=True):
    consumers: dict[Name, tuple[str, ...]] = {}  # sha256:…, cn:…, dns:…, uri:…, email:…; none: every certificate
