"""`headers`: set, add and remove fields of the request and of the response.

What frames a message, belongs to one hop or says who the client is, is the gateway's to write: such names are refused
when the file is loaded. A value is never more than a value: one that came out with a line end in it is left out.

`set` takes away what the client sent under that name even where its own expression has no value, so that a service can
believe the field: it is the gateway's, or it is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gatepost.config.policies.headers import FieldEdits, HeadersPolicy
from gatepost.errors import ExpressionError
from gatepost.exchange import Exchange, Phase, Policy
from gatepost.expressions import EXCHANGE_VARIABLES, REQUEST_VARIABLES, ExchangeEnvironment, compile_template
from gatepost.expressions.runtime import Type
from gatepost.http1.framing import SPECIAL, SPECIAL_IN_RESPONSES
from gatepost.http1.messages import FieldList, Fields
from gatepost.policies.base import PolicyContext, SettingFault

Evaluate = Callable[[Any], Any]


def build(use: HeadersPolicy, context: PolicyContext) -> Headers:
    return Headers(use)


class Headers(Policy):
    name = "headers"
    phase = Phase.TRANSFORM

    def __init__(self, config: HeadersPolicy) -> None:
        self._request = _edits("request", config.request, REQUEST_VARIABLES, SPECIAL)
        self._response = _edits("response", config.response, _RESPONSE_VARIABLES, _NOT_IN_RESPONSES)
        sides = [side for side in (self._request, self._response) if side is not None]
        self.needs_request_body = any(side.reads_body for side in sides)

    def on_request(self, x: Exchange) -> None:
        edits = self._request
        if edits is not None:
            edits.change_request(x)

    def on_response(self, x: Exchange) -> None:
        edits = self._response
        if edits is not None:
            edits.change_response(x)


class Edits:
    """What becomes of one list of fields."""

    __slots__ = ("_computed", "_fixed", "_gone", "_lines", "reads_body")

    def __init__(self, gone: frozenset[bytes], fixed: Fields, computed: tuple[tuple[bytes, Evaluate], ...]) -> None:
        self._gone = gone
        self._fixed = fixed
        self._lines = b"".join([b"%b: %b\r\n" % field for field in fixed])
        self._computed = computed
        self.reads_body = False

    def change_request(self, x: Exchange) -> None:
        added, lines = self._added(x)
        head = x.head
        for name in self._gone:
            head.take(name)
        head.block = head.block.plus(added, lines)

    def change_response(self, x: Exchange) -> None:
        added, lines = self._added(x)
        fields = x.response_fields
        kept = [field for field in fields if field[0] not in self._gone] if self._gone else fields
        if len(kept) == len(fields) and type(fields) is FieldList:
            x.response_fields = fields.plus(added, lines)
        else:
            x.response_fields = [*kept, *added]

    def _added(self, x: Exchange) -> tuple[Fields, bytes]:
        if not self._computed:
            return self._fixed, self._lines
        env = ExchangeEnvironment(x)
        added = self._fixed.copy()
        for name, evaluate in self._computed:
            try:
                value = field_value(evaluate(env))
            except ExpressionError:
                continue
            if value is not None:
                added.append((name, value))
        return added, b"".join([b"%b: %b\r\n" % field for field in added])


def field_value(text: str) -> bytes | None:
    """A text as a field's value; None where it holds what no value may (RFC 9110 §5.5)."""
    value = text.encode().strip(b" \t")
    return None if value.translate(None, _CONTROLS) != value else value


def _edits(side: str, edits: FieldEdits, variables: Mapping[str, Type], refused: frozenset[bytes]) -> Edits | None:
    """None where there is nothing to do. Raises SettingFault."""
    if edits == FieldEdits():
        return None
    gone = {name.lower().encode() for name in (*edits.remove, *edits.set)}
    fixed: Fields = []
    computed: list[tuple[bytes, Evaluate]] = []
    reads_body = False
    for name in edits.remove:
        _check(f"{side}.remove", name, refused)
    for kind, entries in (("set", edits.set), ("add", edits.add)):
        for name, template in entries.items():
            setting = f"{side}.{kind}.{name}"
            key = _check(setting, name, refused)
            try:
                program = compile_template(template, variables, result="string")
            except ExpressionError as error:
                raise SettingFault(setting, str(error)) from None
            reads_body = reads_body or "request.body" in program.references
            if not program.constant:
                computed.append((key, program.evaluate))
                continue
            value = field_value(program.evaluate({}))
            if value is None:
                raise SettingFault(setting, "must not hold line ends or control characters")
            fixed.append((key, value))
    out = Edits(frozenset(gone), fixed, tuple(computed))
    out.reads_body = reads_body
    return out


def _check(setting: str, name: str, refused: frozenset[bytes]) -> bytes:
    key = name.lower().encode()
    if key in refused:
        why = "the service's `host` decides it" if key == b"host" else "the gateway writes it itself, or not at all"
        raise SettingFault(setting, f"{name} cannot be changed: {why}")
    return key


_RESPONSE_VARIABLES: Final = {name: kind for name, kind in EXCHANGE_VARIABLES.items() if name != "response.body"}
_NOT_IN_RESPONSES: Final = SPECIAL_IN_RESPONSES | {b"x-request-id", b"date"}
_CONTROLS: Final = bytes(code for code in (*range(0x20), 0x7F) if code != 0x09)
