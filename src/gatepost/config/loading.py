"""From `gatepost.yaml` to a `Loaded` configuration, or to every fault of the file at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from gatepost.config import tree
from gatepost.config.documents import Documents
from gatepost.config.openapi.expand import expand
from gatepost.config.reading import FAULT, Reading, reader_of
from gatepost.config.schema import Config
from gatepost.errors import ConfigError, ConfigIssue

MAX_ISSUES: Final = 1_000  # a person reads no more, and a hostile file makes millions

# A line, and the places below it by key (`[0]` in a list); most places are a line only.
Place: TypeAlias = "int | tuple[int, dict[str, Place]]"

# The sections whose entries stand by name, by the thousand where a file is large.
SECTIONS: Final = tuple(
    field.encode_name
    for field in msgspec.structs.fields(Config)
    if isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.DictType)
)


class Lines:
    """Finds the line of a dotted path: `lines.of("routes.x.policies[0].rate_limit.by")`.

    Entries of sections are kept packed (10,000 routes: 2 MB instead of 40) and opened when one is asked for: that is
    when there is a fault to report.
    """

    __slots__ = ("entries", "top")

    def __init__(self, top: Place, entries: dict[str, dict[str, bytes]]) -> None:
        self.top = top
        self.entries = entries  # by section and name: the msgpack of a Place

    def of(self, path: str) -> int:
        """The line on which the path stands, or the nearest of its parents that does (a default has no line); from
        1, and 0 for a file that is empty."""
        section, _, rest = path.partition(".")
        entries = self.entries.get(section)
        if entries:
            # Names may hold dots: the longest that stands there is meant.
            end = len(rest)
            while end > 0:
                packed = entries.get(rest[:end])
                if packed is not None:
                    return _line(msgspec.msgpack.decode(packed), _STEPS.findall(rest[end:]))
                end = max(rest.rfind(".", 0, end), rest.rfind("[", 0, end))
        return _line(self.top, _STEPS.findall(path))


class Loaded(NamedTuple):
    config: Config
    lines: Lines
    files: tuple[str, ...] = ()  # absolute paths of what was read beside the file: certificates, secrets, schemas


def load(path: str | Path, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check a file. Raises ConfigError with every fault, each with its path and line."""
    return load_text(_content(path), str(path), environ)


def load_sound(path: str | Path, faults: list[ConfigIssue], environ: Mapping[str, str] = os.environ) -> Loaded | None:
    """The file without the entries and settings in which `load` found `faults`, so that the rest can be checked
    further; None where nothing of it can be read."""
    try:
        root = tree.parse(_content(path))
    except tree.Unreadable:
        return None
    if type(root) is not tree.Mapping:
        return None
    faulty = {step for issue in faults for step in _steps(issue.path)}
    sound = _without(root, "", faulty)
    config = _READ(sound, "", Reading(Path(path).parent, environ))
    return None if config is FAULT else Loaded(config, _lines(sound))


def _steps(path: str) -> Iterator[str]:
    """`routes`, `routes.a`, `routes.a.match` … Names may hold dots, so each of them ends a step."""
    return (path[:end] for end in range(1, len(path) + 1) if end == len(path) or path[end] in ".[")


def _without(root: tree.Mapping, prefix: str, faulty: set[str]) -> tree.Mapping:
    sound = tree.Mapping(root.line)
    for key, child in root.pairs:
        if not prefix and key.text in SECTIONS and type(child) is tree.Mapping:
            sound.pairs.append((key, _without(child, f"{key.text}.", faulty)))
        elif prefix + key.text not in faulty:
            sound.pairs.append((key, child))
    return sound


def _content(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(tree.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigError(str(path), [ConfigIssue("", 0, f"cannot be read: {why}")]) from None


def load_text(text: str | bytes, file: str = "gatepost.yaml", environ: Mapping[str, str] = os.environ) -> Loaded:
    """The same for a text. `file` is named in errors, and relative paths in the text count from its folder."""
    try:
        root = tree.parse(text)
    except tree.Unreadable as error:
        raise ConfigError(file, [error.issue]) from None
    if root is None or tree.is_null(root):
        return Loaded(Config(), Lines(0, {}))
    reading = Reading(Path(file).parent, environ)
    config = _READ(root, "", reading)
    lines = _lines(root)
    made: dict[str, str] | None = None  # where there are faults, nobody knows which routes descriptions would make
    if config is not FAULT:
        config, made = _expanded(config, lines, reading)
    reading.check_references(root, made)
    if config is FAULT or reading.issues:
        issues = sorted(reading.issues, key=lambda issue: issue.line)
        if len(issues) > MAX_ISSUES:
            more = f"{len(issues) - MAX_ISSUES} more faults follow"
            issues = [*issues[:MAX_ISSUES], ConfigIssue("", 0, more)]
        raise ConfigError(file, issues, _files(reading))
    return Loaded(config, lines, _files(reading))


def _expanded(config: Config, lines: Lines, reading: Reading) -> tuple[Config, dict[str, str]]:
    """With the routes of its services' descriptions, each on the line of the setting that makes it."""
    documents = Documents()
    config, made, issues = expand(config, documents)
    reading.files |= documents.files
    reading.issues += [issue._replace(line=lines.of(issue.path)) for issue in issues]
    entries = lines.entries.setdefault("routes", {}) if made else {}
    for name, setting in made.items():
        entries[name] = msgspec.msgpack.encode(lines.of(setting))
    return config, made


def _files(reading: Reading) -> tuple[str, ...]:
    return tuple(sorted(reading.files))


_READ: Final = reader_of(msgspec.inspect.type_info(Config))
_STEPS: Final = re.compile(r"[^.\[]+|\[[0-9]+\]")


def _lines(root: tree.Node) -> Lines:
    entries: dict[str, dict[str, bytes]] = {}
    below: dict[str, Place] = {}
    encode = msgspec.msgpack.Encoder().encode
    for name, line, node in _children(root):
        if name in SECTIONS:
            entries[name] = {entry: encode(_place(entry_line, child)) for entry, entry_line, child in _children(node)}
            below[name] = line
        else:
            below[name] = _place(line, node)
    return Lines((root.line, below), entries)


def _place(line: int, node: tree.Node) -> Place:
    if type(node) is tree.Scalar:
        return line
    return line, {name: _place(below, child) for name, below, child in _children(node)}


def _children(node: tree.Node) -> Iterator[tuple[str, int, tree.Node]]:
    """Names with the lines where a reader looks for them: that of the key, or of the item."""
    if type(node) is tree.Mapping:
        for key, child in node.pairs:
            yield key.text, key.line, child
    elif type(node) is tree.Sequence:
        for index, child in enumerate(node.items):
            yield f"[{index}]", child.line, child


def _line(place: Any, steps: list[str]) -> int:
    """Follow `steps` as far as they lead. A key that holds dots itself (a header) takes several of them."""
    if isinstance(place, int):
        return place
    line: int = place[0]
    below: dict[str, Place] = place[1]
    for taken in range(len(steps), 0, -1):
        child = below.get(".".join(steps[:taken]))
        if child is not None:
            return _line(child, steps[taken:])
    return line
