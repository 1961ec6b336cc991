"""`rewrite`: another path for the service, made of the old one.

Whoever decided by the path before (the route, `api_key`, a limit) decided by the client's. So the new one must not be a
way around them: what fills a hole stays within its segment, and a path that is not its own normal form (`..`, `//`, an
escape that servers read differently) is refused, never repaired.
"""

from __future__ import annotations

from gatepost.config.policies.rewrite import RewritePolicy
from gatepost.errors import ExpressionError, Problem, ProtocolError
from gatepost.exchange import Exchange, Phase, Policy, Response, problem
from gatepost.http1.targets import split_target
from gatepost.policies.base import PolicyContext, SettingFault
from gatepost.policies.path_patterns import compile_pattern
from gatepost.policies.url_templates import UrlTemplate


def build(use: RewritePolicy, context: PolicyContext) -> Rewrite:
    return Rewrite(use)


class Rewrite(Policy):
    name = "rewrite"
    phase = Phase.TRANSFORM

    def __init__(self, config: RewritePolicy) -> None:
        self._pattern = None
        captures: frozenset[str] = frozenset()
        if config.pattern is not None:
            try:
                self._pattern = compile_pattern(config.pattern)
            except ValueError as error:
                raise SettingFault("pattern", str(error)) from None
            captures = frozenset(self._pattern.groupindex)
        try:
            self._path = UrlTemplate(config.path, captures)
        except ValueError as error:
            raise SettingFault("path", str(error)) from None
        if not _is_normal(self._path.example):
            raise SettingFault(
                "path", "must be a normalised path: it begins with /, and holds no query, no `//` and no dot segment"
            )
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
        if not _is_normal(path):
            return _refusal(x, "what the request asks for does not make a path")
        x.path = path
        x.head.target = path.encode()  # a service with `path: raw` is sent this one
        return None


def _is_normal(path: str) -> bool:
    try:
        return path[:1] == "/" and split_target(b"GET", path.encode("ascii")).path == path
    except (ProtocolError, UnicodeEncodeError):
        return False


def _refusal(x: Exchange, detail: str) -> Response:
    return problem(x.id, Problem(400, "path-not-rewritten", "The path cannot be rewritten", detail))
