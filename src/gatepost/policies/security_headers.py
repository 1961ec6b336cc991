"""`security_headers`: what tells a browser to be careful with an answer, also with those that the gateway makes."""

from __future__ import annotations

from gatepost.config.policies.security_headers import SecurityHeadersPolicy
from gatepost.exchange import Exchange, Phase, Policy
from gatepost.http1.messages import FieldList, Fields
from gatepost.policies.base import PolicyContext


def build(use: SecurityHeadersPolicy, context: PolicyContext) -> SecurityHeaders:
    return SecurityHeaders(use)


class SecurityHeaders(Policy):
    name = "security_headers"
    phase = Phase.EDGE

    def __init__(self, config: SecurityHeadersPolicy) -> None:
        fields = [
            (b"x-content-type-options", config.content_type_options),
            (b"referrer-policy", config.referrer_policy),
            (b"content-security-policy", config.content_security_policy),
            (b"cross-origin-opener-policy", config.cross_origin_opener_policy),
            (b"cross-origin-resource-policy", config.cross_origin_resource_policy),
            (b"permissions-policy", config.permissions_policy),
        ]
        plain: Fields = [(name, value.encode()) for name, value in fields if value]
        self._plain = plain, _lines(plain)
        # RFC 6797 §7.2: a host must not send it over plain HTTP, where anybody could have put it.
        secure = [*plain, *_hsts(config)]
        self._secure = secure, _lines(secure)
        self._names = frozenset(name for name, _ in secure)
        self._override = config.upstream == "override"

    def on_response(self, x: Exchange) -> None:
        added, lines = self._secure if x.scheme == b"https" else self._plain
        fields = x.response_fields
        names = self._names
        there = [field for field in fields if field[0] in names]
        if not there:
            x.response_fields = fields.plus(added, lines) if type(fields) is FieldList else [*fields, *added]
        elif self._override:
            x.response_fields = [*(field for field in fields if field[0] not in names), *added]
        else:
            said = {name for name, _ in there}
            x.response_fields = [*fields, *(field for field in added if field[0] not in said)]


def _hsts(config: SecurityHeadersPolicy) -> Fields:
    if config.hsts is None:
        return []
    value = b"max-age=%d" % config.hsts
    if config.hsts_subdomains:
        value += b"; includeSubDomains"
    if config.hsts_preload:
        value += b"; preload"
    return [(b"strict-transport-security", value)]


def _lines(fields: Fields) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])
