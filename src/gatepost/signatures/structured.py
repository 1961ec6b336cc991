"""Structured fields (RFC 9651), as far as signatures need them: dictionaries of inner lists, of bytes and of items.

Parsed strictly by the grammar: a field that no sender of structured fields could have written is refused whole, as
§4.2 asks. Of several members with one key the last counts (§4.2.2), so who must not have that asks for it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from gatepost.errors import SignatureError


class Word(str):
    """A token, which is written without quotes."""

    __slots__ = ()


Bare: TypeAlias = "str | Word | int | float | bool | bytes"
Parameters: TypeAlias = dict[str, Bare]


class Item(NamedTuple):
    value: Bare
    parameters: Parameters


class InnerList(NamedTuple):
    items: tuple[Item, ...]
    parameters: Parameters


Member: TypeAlias = "Item | InnerList"

LONGEST: Final = 16_384  # bytes of a field


def dictionary(value: bytes) -> dict[str, Member]:
    """A dictionary's members in their order. Raises SignatureError."""
    reader = _Reader(value)
    members: dict[str, Member] = {}
    reader.skip(_SPACES)
    while not reader.done():
        key = reader.take(_KEY, "a key")
        member: Member = reader.member() if reader.eat("=") else Item(True, reader.parameters())
        members.pop(key, None)
        members[key] = member
        reader.skip(_BLANKS)
        if reader.done():
            break
        if not reader.eat(","):
            raise _bad("a comma is missing between two members")
        reader.skip(_BLANKS)
        if reader.done():
            raise _bad("it ends in a comma")
    return members


def serialize(member: Member) -> str:
    """Raises SignatureError where a text cannot be written."""
    if isinstance(member, InnerList):
        return f"({' '.join(map(serialize, member.items))}){serialize_parameters(member.parameters)}"
    return serialize_bare(member.value) + serialize_parameters(member.parameters)


def serialize_parameters(parameters: Mapping[str, Bare]) -> str:
    parts = [f";{key}" if value is True else f";{key}={serialize_bare(value)}" for key, value in parameters.items()]
    return "".join(parts)


def serialize_bare(value: Bare) -> str:
    if isinstance(value, bool):
        return "?1" if value else "?0"
    if isinstance(value, bytes):
        return f":{binascii.b2a_base64(value, newline=False).decode()}:"
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, str):
        if not (value.isascii() and value.isprintable()):
            raise SignatureError("a text of a structured field holds only visible ASCII characters")
        if "\\" in value or '"' in value:
            value = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{value}"'
    if isinstance(value, float):
        text = f"{value:.3f}".rstrip("0")
        return text + "0" if text.endswith(".") else text
    return str(value)


class _Reader:
    __slots__ = ("_at", "_text")

    def __init__(self, value: bytes) -> None:
        if len(value) > LONGEST:
            raise _bad(f"it is longer than {LONGEST} bytes")
        try:
            self._text = value.decode("ascii").rstrip(" ")
        except UnicodeDecodeError:
            raise _bad("it is not ASCII") from None
        self._at = 0

    def done(self) -> bool:
        return self._at == len(self._text)

    def eat(self, character: str) -> bool:
        if self._text.startswith(character, self._at):
            self._at += 1
            return True
        return False

    def skip(self, what: re.Pattern[str]) -> None:
        match = what.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def take(self, what: re.Pattern[str], name: str) -> str:
        match = what.match(self._text, self._at)
        if match is None:
            raise _bad(f"{name} is missing")
        self._at = match.end()
        return match[0]

    def member(self) -> Member:
        if not self.eat("("):
            return self.item()
        items: list[Item] = []
        while True:
            self.skip(_SPACES)
            if self.eat(")"):
                return InnerList(tuple(items), self.parameters())
            if items and self._text[self._at - 1] != " ":
                raise _bad("a space is missing between two items")
            items.append(self.item())

    def item(self) -> Item:
        return Item(self.bare(), self.parameters())

    def parameters(self) -> Parameters:
        found: Parameters = {}
        while self.eat(";"):
            self.skip(_SPACES)
            key = self.take(_KEY, "a parameter's key")
            value: Bare = self.bare() if self.eat("=") else True
            found.pop(key, None)
            found[key] = value
        return found

    def bare(self) -> Bare:
        if self.eat('"'):
            return self._string()
        if self.eat(":"):
            text = self.take(_BASE64, "a sequence of bytes")
            try:
                raw = binascii.a2b_base64(text[:-1], strict_mode=True)
            except binascii.Error:
                raise _bad("a sequence of bytes is not base64") from None
            return raw
        if self.eat("?"):
            return self.take(_TRUTH, "a truth value") == "1"
        match = _NUMBER.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
            return float(match[0]) if match[1] else int(match[0])
        return Word(self.take(_TOKEN, "a value"))

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise _bad("a text does not end, or holds what no text may")
        self._at = match.end()
        text = match[1]
        return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text


def _bad(reason: str) -> SignatureError:
    return SignatureError(f"a structured field is malformed: {reason}")


_KEY: Final = re.compile(r"[a-z*][a-z0-9_.*-]*")
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_NUMBER: Final = re.compile(r"-?(?:[0-9]{1,12}(\.[0-9]{1,3})(?![0-9.])|[0-9]{1,15}(?![0-9.]))")
_STRING: Final = re.compile(r'((?:[ !#-\[\]-~]|\\["\\])*)"')
_BASE64: Final = re.compile(r"[A-Za-z0-9+/=]*:")
_TRUTH: Final = re.compile(r"[01]")
_SPACES: Final = re.compile(r" *")
_BLANKS: Final = re.compile(r"[ \t]*")
