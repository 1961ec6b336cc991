"""Reads a tree with the schema in hand: every value typed, every fault collected.

At import the schema is compiled into one reader a type (`reader_of`), a closure that takes a node and its path. A
reader that finds a fault notes it in the `Reading` and returns FAULT; its parents read on, so that one run finds
everything. A constraint of the schema that no reader knows is an error at import, never ignored.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Environ
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec.inspect as inspect

from gatepost.config import secrets, units
from gatepost.config.documents import Documents, Fault, Place
from gatepost.config.json_schema import schema_text
from gatepost.config.tree import Mapping, Node, Scalar, Sequence, is_ambiguous, is_null
from gatepost.errors import ConfigIssue

FAULT: Final = object()
Reader: TypeAlias = "Callable[[Node, str, Reading], Any]"

MAX_HINTS: Final = 50  # a run

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?")


class Reading:
    """One run over one file: where its relative paths and secrets come from, and what it found."""

    def __init__(self, folder: Path, environ: Environ[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.issues: list[ConfigIssue] = []
        self.files: set[str] = set()  # that were read beside the configuration: a change of one is a change of it
        self._references: list[tuple[str, str, str, int]] = []
        self._hints = MAX_HINTS

    def fault(self, path: str, line: int, reason: str) -> object:
        self.issues.append(ConfigIssue(path, line, reason))
        return FAULT

    def refer(self, section: str, name: str, path: str, line: int) -> None:
        self._references.append((section, name, path, line))

    def check_references(self, root: Node | None, made: Iterable[str] | None = ()) -> None:
        """Every name that is used must stand in its section; an entry that is there with faults counts, and so do the
        routes that were `made` of descriptions. None: it is not known which those are."""
        known: dict[str, set[str]] = {}
        for section, name, path, line in self._references:
            if section == "routes" and made is None and _describes(root):
                continue
            if section not in known:
                known[section] = {*_names(root, section), *((made or ()) if section == "routes" else ())}
            if name not in known[section]:
                kind = section.removesuffix("s")
                self.fault(path, line, f"there is no {kind} `{name}`{self.meant(name, known[section])}")

    def meant(self, name: str, known: Iterable[str]) -> str:
        """`; did you mean …?`, or nothing. difflib costs about 10 µs a name, and a section may hold 10,000 of them: so
        only names of like length are looked at, and only for the first faults."""
        if self._hints == 0:
            return ""
        self._hints -= 1
        near = [each for each in known if abs(len(each) - len(name)) <= 2][:2_000]
        close = difflib.get_close_matches(name, near, n=1, cutoff=0.7)
        return f"; did you mean `{close[0]}`?" if close else ""


def reader_of(kind: inspect.Type, meta: dict[str, Any] | None = None) -> Reader:
    """The reader of a type as `msgspec.inspect` describes it; `meta` is the `extra` of its Meta."""
    if isinstance(kind, inspect.Metadata):
        return reader_of(kind.type, {**(meta or {}), **(kind.extra or {})})
    if isinstance(kind, inspect.StructType):
        return _struct(kind)
    if isinstance(kind, inspect.VarTupleType):
        return _many(kind, one=bool((meta or {}).get("one")))
    if isinstance(kind, inspect.DictType):
        return _dictionary(kind)
    if isinstance(kind, inspect.UnionType):
        return _optional(kind)
    if isinstance(kind, inspect.AnyType):
        return _document
    if (meta or {}).get("unit") == "schema":
        return _schema
    return _scalar(kind, meta or {})


def _struct(kind: inspect.StructType) -> Reader:
    cls = kind.cls
    fields = {field.encode_name: reader_of(field.type) for field in kind.fields}
    required = tuple(field.encode_name for field in kind.fields if field.required)
    short: str | None = getattr(cls, "short", None)
    expected = f"must be a mapping with some of the keys {', '.join(fields)}"
    listed = any(field.name == short and type(field.type) is inspect.VarTupleType for field in kind.fields)
    if short is not None:
        expected = f"must be a {'list' if listed else 'text'} (its `{short}`) or {expected.removeprefix('must be ')}"

    def read(node: Node, path: str, reading: Reading) -> Any:
        if short is not None and type(node) is (Sequence if listed else Scalar) and not is_null(node):
            value = fields[short](node, path, reading)
            try:
                return FAULT if value is FAULT else cls(**{short: value})
            except ValueError as error:
                return reading.fault(path, node.line, str(error))
        if type(node) is not Mapping:
            return reading.fault(path, node.line, f"{_no_value(node)}{expected}; `{{}}` takes every default")
        values: dict[str, Any] = {}
        found = len(reading.issues)
        for name, line, child in _entries(node, path, reading):
            below = _below(path, name)
            reader = fields.get(name)
            if reader is None:
                reading.fault(below, line, f"unknown key{reading.meant(name, fields) or _known(fields)}")
            else:
                values[name] = reader(child, below, reading)
        for name in required:
            if name not in values:
                reading.fault(path, node.line, f"the key `{name}` is missing")
        if len(reading.issues) > found:
            return FAULT
        try:
            return cls(**values)
        except ValueError as error:
            return reading.fault(path, node.line, str(error))

    return read


def _many(kind: inspect.VarTupleType, *, one: bool = False) -> Reader:
    """`one`: a single item may stand there without the list around it."""
    item = reader_of(kind.item_type)
    least = kind.min_length or 0
    _refuse_constraint(kind, "max_length")

    def read(node: Node, path: str, reading: Reading) -> Any:
        if type(node) is not Sequence:
            if one and not is_null(node):
                value = item(node, path, reading)
                return FAULT if value is FAULT else (value,)
            return reading.fault(
                path, node.line, f"{_no_value(node)}must be a list; write [one, two] or lines with `- `"
            )
        if len(node.items) < least:
            return reading.fault(path, node.line, f"must have at least {least} item{'s' if least > 1 else ''}")
        values = tuple(item(child, f"{path}[{place}]", reading) for place, child in enumerate(node.items))
        return FAULT if FAULT in values else values

    return read


def _dictionary(kind: inspect.DictType) -> Reader:
    key_reader = reader_of(kind.key_type)
    value_reader = reader_of(kind.value_type)
    _refuse_constraint(kind, "min_length", "max_length")

    def read(node: Node, path: str, reading: Reading) -> Any:
        if type(node) is not Mapping:
            return reading.fault(path, node.line, f"{_no_value(node)}must be a mapping, `name: value`")
        values: dict[str, Any] = {}
        faulty = False
        for name, line, child in _entries(node, path, reading):
            below = _below(path, name)
            key = key_reader(Scalar(name, False, line), below, reading)
            value = value_reader(child, below, reading)
            faulty = faulty or key is FAULT or value is FAULT
            values[name] = value
        return FAULT if faulty else values

    return read


def _optional(kind: inspect.UnionType) -> Reader:
    kinds = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    if len(kinds) != 1 or len(kind.types) != 2:
        raise TypeError(f"the schema may have `T | None` but no other union: {kind}")
    reader = reader_of(kinds[0])

    def read(node: Node, path: str, reading: Reading) -> Any:
        return None if is_null(node) else reader(node, path, reading)

    return read


def _document(node: Node, path: str, reading: Reading) -> Any:
    """Whatever stands there, as plain values: for settings whose shape somebody else knows."""
    if type(node) is Mapping:
        entries = _entries(node, path, reading)
        pairs = {name: _document(child, _below(path, name), reading) for name, _, child in entries}
        return FAULT if any(value is FAULT for value in pairs.values()) else pairs
    if type(node) is Sequence:
        items = [_document(child, f"{path}[{place}]", reading) for place, child in enumerate(node.items)]
        return FAULT if any(item is FAULT for item in items) else items
    assert type(node) is Scalar
    if is_null(node):
        return None
    if node.plain:
        if node.text in ("true", "false"):
            return node.text == "true"
        if _INTEGER.fullmatch(node.text):
            return int(node.text)
        if _NUMBER.fullmatch(node.text):
            return float(node.text)
    try:
        return _text(node)
    except ValueError as error:
        return reading.fault(path, node.line, str(error))


def _schema(node: Node, path: str, reading: Reading) -> Any:
    """A JSON Schema as JSON text: a mapping that stands here, or the file that is named, and all that it refers to."""
    documents = Documents()
    try:
        if type(node) is Scalar and not is_null(node):
            place = Place(str((reading.folder / _text(node)).absolute()), "")
        else:
            value = _document(node, path, reading)
            if value is FAULT:
                return FAULT
            place = Place(str(reading.folder / "gatepost.yaml"), "")
            documents.add(place.file, value)
        return schema_text(documents, place)
    except Fault as fault:
        return reading.fault(path, node.line, documents.told(fault))
    except ValueError as error:
        return reading.fault(path, node.line, str(error))
    finally:
        reading.files |= documents.files


def _scalar(kind: inspect.Type, meta: dict[str, Any]) -> Reader:
    value_of = _value_reader(kind, meta)
    check_range = _range(kind)
    reference: str | None = meta.get("ref")

    def read(node: Node, path: str, reading: Reading) -> Any:
        if type(node) is not Scalar:
            shape = "list" if type(node) is Sequence else "mapping"
            return reading.fault(path, node.line, f"must be one value, not a {shape}")
        if is_null(node):
            return reading.fault(path, node.line, "has no value; write one, or leave the key out")
        try:
            value = value_of(node, reading)
            if check_range is not None:
                check_range(value)
        except ValueError as error:
            return reading.fault(path, node.line, str(error))
        if reference is not None:
            reading.refer(reference, value, path, node.line)
        return value

    return read


def _value_reader(kind: inspect.Type, meta: dict[str, Any]) -> Callable[[Scalar, Reading], Any]:
    unit: str = meta.get("unit", "")
    if isinstance(kind, inspect.BoolType):
        return lambda node, _: _truth(node)
    if isinstance(kind, inspect.LiteralType):
        return _choice(kind)
    if isinstance(kind, inspect.FloatType) and unit in ("", "duration"):
        return (lambda node, _: units.duration(node.text)) if unit else (lambda node, _: float(_number(node, _NUMBER)))
    if isinstance(kind, inspect.IntType) and unit in ("", "size"):
        return (lambda node, _: units.size(node.text)) if unit else (lambda node, _: int(_number(node, _INTEGER)))
    if isinstance(kind, inspect.CustomType) and kind.cls is secrets.Secret:
        return _secret(meta)
    if isinstance(kind, inspect.StrType):
        if unit in ("expression", "template"):
            return lambda node, _: node.text  # what YAML readers differ on (`true`, `1`) is CEL here
        if unit == "file":
            return lambda node, reading: _file(_text(node), reading)
        if not unit:
            return lambda node, _: _text(node)
        check = units.OF_TEXT[unit]
        return lambda node, _: check(_text(node))
    raise TypeError(f"the loader cannot read {kind} with the unit {unit!r}")


# What the text of some secrets must look like.
_FORMS: Final[dict[str, Callable[[str], str]]] = {
    "sha256": units.sha256,
    "store": units.store,
    "encryption key": units.encryption_key,
}


def _secret(meta: dict[str, Any]) -> Callable[[Scalar, Reading], secrets.Secret]:
    form: str | None = meta.get("form")

    def read(node: Scalar, reading: Reading) -> secrets.Secret:
        text = _text(node)
        value = secrets.resolve(text, reading.environ, reading.folder)
        if text.startswith("file:"):
            reading.files.add(str((reading.folder / text.removeprefix("file:")).absolute()))
        return value if form is None else secrets.Secret(_FORMS[form](value))

    return read


def _file(text: str, reading: Reading) -> str:
    path = units.readable_file(text, reading.folder)
    reading.files.add(path)
    return path


def _truth(node: Scalar) -> bool:
    if node.plain and node.text in ("true", "false"):
        return node.text == "true"
    raise ValueError("must be true or false, without quotes")


def _choice(kind: inspect.LiteralType) -> Callable[[Scalar, Reading], Any]:
    choices = {str(value): value for value in kind.values}

    def read(node: Scalar, _: Reading) -> Any:
        if node.text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return choices[node.text]

    return read


def _number(node: Scalar, form: re.Pattern[str]) -> str:
    if not node.plain:
        raise ValueError("must be a number, without quotes")
    if not form.fullmatch(node.text):
        whole = "whole " if form is _INTEGER else ""
        raise ValueError(f"must be a {whole}number in plain decimal digits: no leading 0, no `_`, `:` or 0x")
    return node.text


def _text(node: Scalar) -> str:
    if is_ambiguous(node):
        raise ValueError("must be text: YAML readers take this for a number, truth value or date; put it in quotes")
    return node.text


def _range(kind: inspect.Type) -> Callable[[Any], None] | None:
    """The schema's `ge`, `le` and `min_length`."""
    _refuse_constraint(kind, "gt", "lt", "multiple_of", "max_length", "pattern")
    least, most = getattr(kind, "ge", None), getattr(kind, "le", None)
    shortest = getattr(kind, "min_length", None)
    if least is None and most is None and shortest is None:
        return None

    def check(value: Any) -> None:
        if shortest is not None and len(value) < shortest:
            raise ValueError("must not be empty")
        if least is not None and value < least:
            raise ValueError(f"must be at least {least}")
        if most is not None and value > most:
            raise ValueError(f"must be at most {most}")

    return check


def _refuse_constraint(kind: inspect.Type, *names: str) -> None:
    for name in names:
        if getattr(kind, name, None) is not None:
            raise TypeError(f"the loader does not know the constraint {name} of {kind}")


def _entries(node: Mapping, path: str, reading: Reading) -> Iterator[tuple[str, int, Node]]:
    """Each key once, with its line and value; a key that is no text, or there twice, is a fault."""
    seen: dict[str, int] = {}
    for key, child in node.pairs:
        name = key.text
        below = _below(path, name)
        if key.plain and name == "<<":
            reading.fault(below, key.line, "merging with `<<` is not read; repeat the keys, or alias whole values")
        elif is_ambiguous(key):
            reading.fault(
                below, key.line, "a key must be text: YAML readers take this for another type; put it in quotes"
            )
        elif name in seen:
            reading.fault(below, key.line, f"stands there twice, first on line {seen[name]}; keep one")
        else:
            seen[name] = key.line
            yield name, key.line, child


def _below(path: str, name: str) -> str:
    """A path that a person can read on one line, whatever the key is."""
    if not name.isprintable() or len(name) > 80:
        name = ascii(name[:80])
    return f"{path}.{name}" if path else name


def _names(root: Node | None, section: str) -> Iterator[str]:
    if type(root) is Mapping:
        for key, child in root.pairs:
            if key.text == section and type(child) is Mapping:
                yield from (name.text for name, _ in child.pairs)


def _describes(root: Node | None) -> bool:
    """Whether a service has a description that makes routes."""
    services = [child for key, child in getattr(root, "pairs", ()) if key.text == "services"]
    entries = [entry for each in services for _, entry in getattr(each, "pairs", ())]
    return any(key.text == "openapi" for entry in entries for key, _ in getattr(entry, "pairs", ()))


def _no_value(node: Node) -> str:
    return "has no value; " if is_null(node) else ""


def _known(known: Iterable[str]) -> str:
    return f"; the keys here are {', '.join(known)}"
