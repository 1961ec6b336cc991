"""`redirect`: the client is sent to another URL (RFC 9110 §15.4).

An open redirect lends this host's good name to any page that a link asks for. So where a redirect leads is fixed by the
file: scheme and host are written out, and what comes from the request is data, escaped for its place. The one exception
is `https://${request.host}…`, the same host over TLS; give such a route its `hosts`.
"""

from __future__ import annotations

import re
from typing import Final

from gatepost.config.policies.redirect import RedirectPolicy
from gatepost.errors import ExpressionError, Problem
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.http1.framing import valid_host
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.path_patterns import compile_pattern
from gatepost.policies.url_templates import UrlTemplate


def build(use: RedirectPolicy, context: PolicyContext) -> Redirect:
    return Redirect(use)


class Redirect(Policy):
    name = "redirect"
    phase = Phase.EDGE

    def __init__(self, config: RedirectPolicy) -> None:
        self._status = config.status
        self._keep_query = config.keep_query
        self._pattern = None
        captures: frozenset[str] = frozenset()
        if config.pattern is not None:
            try:
                self._pattern = compile_pattern(config.pattern)
            except ValueError as error:
                raise SettingFault("pattern", str(error)) from None
            captures = frozenset(self._pattern.groupindex)
        origin, path = _parts(config.to)
        self._same_host = origin == _SAME_HOST
        self._origin = "https://" if self._same_host else origin
        try:
            self._path = UrlTemplate(path, captures)
        except ValueError as error:
            raise SettingFault("to", str(error)) from None
        example = self._path.example
        if not example.startswith("/") or example.startswith("//") or _UNSAFE.search(example):
            raise SettingFault("to", "must be a path that begins with one /, or https://host and such a path")
        self.needs_request_body = self._path.needs_body

    def on_request(self, x: Exchange) -> Response | None:
        captured: dict[str, str] = {}
        if self._pattern is not None:
            match = self._pattern.fullmatch(x.path)
            if match is None:
                return None
            captured = match.groupdict()
        try:
            path = self._path.render(x, captured)
        except ExpressionError as error:
            return _refusal(x, str(error))
        if path.startswith("//"):
            return _refusal(x, "what the request asks for does not make a path")  # `//host` would be another host
        location = (self._origin + path).encode()
        if self._same_host:
            host = x.head.host
            if not valid_host(host):
                return _refusal(x, "the request names no host")
            location = b"https://" + host.partition(b":")[0] + path.encode()
        if self._keep_query and x.query:
            location += (b"&" if b"?" in location else b"?") + x.query
        return Response(self._status, [(b"location", location)])


def _parts(to: str) -> tuple[str, str]:
    """Scheme and host, which hold no expression, and the rest. Raises SettingFault."""
    if to.startswith("/"):
        return "", to
    match = _ORIGIN.match(to)
    if match is None:
        raise SettingFault(
            "to",
            "must begin with / or with a fixed http:// or https:// and host: a host that a request may choose"
            " is an open redirect",
        )
    return match[0], to[match.end() :] or "/"


def _refusal(x: Exchange, detail: str) -> Response:
    return problem(x.id, Problem(400, "not-redirected", "There is nowhere to redirect to", detail))


_SAME_HOST: Final = "https://${request.host}"
_ORIGIN: Final = re.compile(
    r"https://\$\{request\.host\}(?=[/?]|\$\{|$)|https?://[A-Za-z0-9._-]+(?::[0-9]{1,5})?(?=[/?]|\$\{|$)"
)
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\\"<>^`{|}]|[^\x00-\x7f]")
