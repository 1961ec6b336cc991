"""Documents that the configuration names: JSON Schemas, OpenAPI descriptions. Read once, referred to by pointer.

They are written by others, so they are read as any reader of YAML 1.2 or JSON would (`2024-01-01` is a text, `1.0` a
number), not as strictly as `gatepost.yaml`. What is never done is to fetch one: a `$ref` leads within a document or to
a file beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from gatepost.config import tree

MAX_BYTES: Final = 16_777_216
MAX_DEPTH: Final = 100  # of YAML; a description of an API nests some thirty levels

_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")


class Place(NamedTuple):
    """A value of a document: its file, and the JSON Pointer to it (RFC 6901; "" is the whole)."""

    file: str
    pointer: str

    def below(self, *keys: str | int) -> Place:
        return Place(self.file, self.pointer + "".join("/" + escaped(str(key)) for key in keys))


class Fault(ValueError):
    """Something is wrong at `place`."""

    def __init__(self, place: Place, reason: str) -> None:
        self.place = place
        self.reason = reason
        super().__init__(reason)


class Documents:
    """The documents of one run of the loader, by absolute path."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._values: dict[str, Any] = {}
        self._nodes: dict[str, tree.Node] = {}

    def add(self, file: str, value: Any) -> None:
        """A document that stands in `gatepost.yaml` itself; `file` says where its relative references count from."""
        self._values[file] = value

    def load(self, file: str) -> Any:
        """The whole document. Raises Fault."""
        if file not in self._values:
            self.files.add(file)
            self._values[file] = self._read(file)
        return self._values[file]

    def at(self, place: Place) -> Any:
        """Raises Fault where nothing stands there."""
        value = self.load(place.file)
        for key in _keys(place.pointer):
            try:
                value = value[int(key)] if isinstance(value, list) else value[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise Fault(place, f"nothing stands at {place.pointer}") from None
        return value

    def refer(self, reference: str, origin: Place) -> Place:
        """Where a `$ref` leads. Raises Fault for one that would have to be fetched."""
        where, _, fragment = reference.partition("#")
        if _SCHEME.match(where):
            raise Fault(origin, f"refers to {where}: nothing is fetched; keep a copy beside this file and name that")
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            raise Fault(origin, f"refers to #{fragment}: only JSON Pointers are followed, #/like/this")
        file = str((Path(origin.file).parent / unquote(where)).resolve()) if where else origin.file
        return Place(file, fragment)

    def follow(self, value: Any, place: Place) -> tuple[Any, Place]:
        """The value that is meant, and where it stands, after every `$ref`. Raises Fault."""
        for _ in range(MAX_DEPTH):
            if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
                return value, place
            target = self.refer(value["$ref"], place)
            try:
                value = self.at(target)
            except Fault as fault:
                raise Fault(place, f"$ref {value['$ref']}: {fault.reason}") from None
            place = target
        raise Fault(place, "its $ref lead in a circle")

    def line(self, place: Place) -> int:
        """The line in its file, 0 where it is not known (JSON keeps none)."""
        node = self._nodes.get(place.file)
        if node is None:
            return 0
        line = node.line
        for key in _keys(place.pointer):
            found = next((pair for pair in _children(node) if pair[0] == key), None)
            if found is None:
                break
            _, line, node = found
        return line

    def told(self, fault: Fault) -> str:
        """A fault in one line: file, line and pointer as far as they are known."""
        line = self.line(fault.place)
        where = [fault.place.file] if fault.place.file in self.files else []
        where += [f"line {line}"] if line else []
        where += [fault.place.pointer] if fault.place.pointer else []
        return ": ".join([*([" ".join(where)] if where else []), fault.reason])

    def _read(self, file: str) -> Any:
        whole = Place(file, "")
        try:
            with Path(file).open("rb") as source:
                data = source.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise Fault(whole, f"cannot be read: {why}") from None
        if len(data) > MAX_BYTES:
            raise Fault(whole, f"larger than {MAX_BYTES // 1_048_576} MiB")
        if data.lstrip()[:1] in (b"{", b"["):
            try:
                return json.loads(data, object_pairs_hook=_once)
            except (ValueError, RecursionError) as error:
                if file.endswith(".json"):
                    raise Fault(whole, f"is not JSON: {error}") from None
        try:
            node = tree.parse(data, max_depth=MAX_DEPTH)
        except tree.Unreadable as error:
            raise Fault(whole, str(error.issue)) from None
        if node is None:
            raise Fault(whole, "is empty")
        self._nodes[file] = node
        return _plain(node, whole)


def escaped(key: str) -> str:
    """A key as a step of a JSON Pointer (RFC 6901 §3)."""
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key


def _keys(pointer: str) -> list[str]:
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return value


def _children(node: tree.Node) -> Iterator[tuple[str, int, tree.Node]]:
    if type(node) is tree.Mapping:
        for key, child in node.pairs:
            yield key.text, key.line, child
    elif type(node) is tree.Sequence:
        for index, child in enumerate(node.items):
            yield str(index), child.line, child


def _plain(node: tree.Node, whole: Place) -> Any:
    if type(node) is tree.Mapping:
        value: dict[str, Any] = {}
        for key, child in node.pairs:
            if key.text in value:
                raise Fault(whole, f"line {key.line}: the key `{key.text}` stands there twice")
            value[key.text] = _plain(child, whole)
        return value
    if type(node) is tree.Sequence:
        return [_plain(child, whole) for child in node.items]
    assert type(node) is tree.Scalar
    return _scalar(node.text) if node.plain else node.text


def _scalar(text: str) -> Any:
    """YAML 1.2's core schema (§10.3.2), without octal and hexadecimal numbers."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text[0] in "tT"
    if _INTEGER.fullmatch(text) and len(text) < 4_000:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
