"""`security_headers`: what tells a browser to be careful with an answer."""

from __future__ import annotations

from typing import Literal

from gatepost.config.values import HeaderValue, Seconds, Strict


class SecurityHeadersPolicy(Strict, frozen=True):
    """An empty text leaves the field out."""

    # Strict-Transport-Security, over https only; 0 takes an earlier one back. None: it is the listener's to say
    # (`tls.hsts`), for it holds for a whole host. Here for those whose TLS ends in front of Gatepost.
    hsts: Seconds | None = None
    hsts_subdomains: bool = False
    hsts_preload: bool = False
    content_type_options: HeaderValue = "nosniff"
    referrer_policy: HeaderValue = "strict-origin-when-cross-origin"
    content_security_policy: HeaderValue = "frame-ancestors 'none'"
    cross_origin_opener_policy: HeaderValue = "same-origin"
    cross_origin_resource_policy: HeaderValue = "same-origin"
    permissions_policy: HeaderValue = ""
    upstream: Literal["keep", "override"] = "keep"  # what the service says itself

    def __post_init__(self) -> None:
        if self.hsts_preload and not (self.hsts_subdomains and self.hsts is not None and self.hsts >= 31_536_000):
            raise ValueError("`hsts_preload` needs `hsts_subdomains: true` and `hsts` of at least 365d")
