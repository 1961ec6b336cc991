"""`query`: set, add and remove parameters of the query that goes on to the service.

The parameters that stay keep their bytes and their order; new ones come last, percent-encoded. Names are compared as
they mean, not as they are written: `%6Bey` is `key`.
"""

from __future__ import annotations

from urllib.parse import quote, unquote_plus

from gatepost.config.policies.query import QueryPolicy
from gatepost.errors import ExpressionError
from gatepost.exchange import Exchange, Phase, Policy
from gatepost.expressions import REQUEST_VARIABLES, ExchangeEnvironment, Program, compile_template
from gatepost.policies.base import PolicyContext, SettingFault


def build(use: QueryPolicy, context: PolicyContext) -> Query:
    return Query(use)


class Query(Policy):
    name = "query"
    phase = Phase.TRANSFORM

    def __init__(self, config: QueryPolicy) -> None:
        self._gone = frozenset((*config.set, *config.remove))
        self._added: list[tuple[bytes, Program]] = []
        for kind, entries in (("set", config.set), ("add", config.add)):
            for name, template in entries.items():
                try:
                    program = compile_template(template, REQUEST_VARIABLES, result="string")
                except ExpressionError as error:
                    raise SettingFault(f"{kind}.{name}", str(error)) from None
                self._added.append((quote(name, safe="").encode() + b"=", program))
        self.needs_request_body = any("request.body" in program.references for _, program in self._added)

    def on_request(self, x: Exchange) -> None:
        parts = x.query.split(b"&") if x.query else []
        gone = self._gone
        added: list[bytes] = []
        if self._added:
            env = ExchangeEnvironment(x)  # expressions see the query as it came
            for name, program in self._added:
                try:
                    added.append(name + quote(program.evaluate(env), safe="").encode())
                except ExpressionError:
                    pass  # no value, no parameter; those that `set` replaces are gone all the same
        if gone and parts:
            parts = [part for part in parts if _name(part) not in gone]
        x.query = b"&".join(parts + added)


def _name(part: bytes) -> str:
    return unquote_plus(part.partition(b"=")[0].decode("latin-1"))
