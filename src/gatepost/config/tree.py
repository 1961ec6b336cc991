"""The YAML that Gatepost accepts, as a tree whose nodes know their lines.

It is built from the C parser's events: 0.35 s for 10,000 routes, where composing PyYAML's own nodes takes 1.7 to
2.6 s and ends the process on deep nesting (its recursion is in C and unbounded). A scalar stays the text that was
written; `reading.py`, which knows what is expected, decides what it means. So nothing is guessed.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import yaml

from gatepost.errors import ConfigIssue

MAX_BYTES: Final = 67_108_864
MAX_DEPTH: Final = 32  # the schema needs 8
MAX_ALIASED_NODES: Final = 1_000_000  # what aliases may add: "billion laughs" ends here


class Scalar:
    __slots__ = ("line", "plain", "size", "text")

    def __init__(self, text: str, plain: bool, line: int) -> None:
        self.text = text
        self.plain = plain  # written without quotes
        self.line = line
        self.size = 1


class Sequence:
    __slots__ = ("items", "line", "size")

    def __init__(self, line: int) -> None:
        self.items: list[Node] = []
        self.line = line
        self.size = 1


class Mapping:
    """Pairs in the order of the file. Whether a key stands there twice is for the reader to say."""

    __slots__ = ("line", "pairs", "size")

    def __init__(self, line: int) -> None:
        self.pairs: list[tuple[Scalar, Node]] = []
        self.line = line
        self.size = 1


Node: TypeAlias = Scalar | Sequence | Mapping


class Unreadable(Exception):
    """The text is not the YAML that we accept: nothing after this place can be told."""

    def __init__(self, line: int, reason: str) -> None:
        self.issue = ConfigIssue("", line, reason)
        super().__init__(reason)


def parse(text: str | bytes, max_depth: int = MAX_DEPTH) -> Node | None:
    """The document's tree; None where it is empty. Raises Unreadable."""
    data = _encoded(text)
    builder = _Builder(max_depth)
    try:
        # The parser is fed bytes: it then counts lines and columns itself and copies nothing.
        for event in yaml.parse(data, yaml.CBaseLoader):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        raise _explained(error, data) from None
    except yaml.reader.ReaderError as error:
        line = data.count(b"\n", 0, error.position) + 1 if error.position else 0
        raise Unreadable(line, f"{error.reason}: the file must be plain text in UTF-8") from None
    return builder.root


# YAML 1.1 readers take these plain texts for something else than text; 1.2 readers for another set. Where text is
# expected they must stand in quotes, so that no two readers of the file disagree.
_AMBIGUOUS: Final = re.compile(
    r"""
      ~ | null | Null | NULL | = | <<
    | y | Y | yes | Yes | YES | n | N | no | No | NO
    | true | True | TRUE | false | False | FALSE | on | On | ON | off | Off | OFF
    | [-+]? 0b[01_]+ | [-+]? 0o?[0-7_]+ | [-+]? 0x[0-9a-fA-F_]+
    | [-+]? [0-9][0-9_]* (?: :[0-5]?[0-9] )* (?: \.[0-9_]* )? (?: [eE][-+]?[0-9]+ )?
    | [-+]? \.[0-9_]+ (?: [eE][-+]?[0-9]+ )?
    | [-+]? \.(?: inf | Inf | INF ) | \.(?: nan | NaN | NAN )
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2} (?: (?:[Tt]|[ \t]+) [0-9]{1,2}:[0-9:.]+ [ \t]* (?:Z|[-+][0-9:]+)? )?
    """,
    re.VERBOSE,
)


def is_ambiguous(scalar: Scalar) -> bool:
    """Whether YAML readers could take this unquoted text for a number, a truth value, a date or nothing."""
    return scalar.plain and _AMBIGUOUS.fullmatch(scalar.text) is not None


def is_null(node: Node) -> bool:
    return type(node) is Scalar and node.plain and node.text in ("", "~", "null")


class _Builder:
    """Events in, one tree out; the open collections are a list, so nesting costs no recursion."""

    def __init__(self, max_depth: int) -> None:
        self.root: Node | None = None
        self._max_depth = max_depth
        self._open: list[tuple[Sequence | Mapping, str | None]] = []
        self._keys: list[Scalar | None] = []  # for each open mapping, the key that waits for its value
        self._anchors: dict[str, Node | None] = {}  # None while the anchored node is still open
        self._aliased = 0
        self._documents = 0

    def feed(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            line = event.start_mark.line + 1
            if event.tag is not None:
                raise _tagged(event.tag, line)
            scalar = Scalar(event.value, event.style is None or event.style == "", line)
            if event.anchor is not None:
                self._anchor(event.anchor, scalar, line)
            self._place(scalar)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._start(event, Mapping if kind is yaml.MappingStartEvent else Sequence)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._end()
        elif kind is yaml.AliasEvent:
            self._alias(event.anchor, event.start_mark.line + 1)
        elif kind is yaml.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                raise Unreadable(event.start_mark.line + 1, "a second document begins here; one file holds one")

    def _start(self, event: Any, kind: type[Mapping] | type[Sequence]) -> None:
        line = event.start_mark.line + 1
        if event.tag is not None:
            raise _tagged(event.tag, line)
        if len(self._open) >= self._max_depth:
            raise Unreadable(line, f"nested more than {self._max_depth} levels deep")
        if self._awaits_key():
            raise Unreadable(line, "a key must be plain text, not a list or a mapping")
        if event.anchor is not None:
            self._anchor(event.anchor, None, line)
        self._open.append((kind(line), event.anchor))
        self._keys.append(None)

    def _end(self) -> None:
        node, anchor = self._open.pop()
        self._keys.pop()
        if anchor is not None:
            self._anchors[anchor] = node
        self._place(node)

    def _place(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent, _ = self._open[-1]
        parent.size += node.size
        if type(parent) is Sequence:
            parent.items.append(node)
            return
        key = self._keys[-1]
        if key is not None:
            self._keys[-1] = None
            parent.pairs.append((key, node))  # type: ignore[union-attr]
        elif type(node) is Scalar:
            self._keys[-1] = node
        else:
            raise Unreadable(node.line, "a key must be plain text, not an alias of a list or a mapping")

    def _awaits_key(self) -> bool:
        return bool(self._open) and type(self._open[-1][0]) is Mapping and self._keys[-1] is None

    def _anchor(self, name: str, node: Node | None, line: int) -> None:
        if name in self._anchors:
            raise Unreadable(line, f"the anchor `&{name}` is defined twice")
        self._anchors[name] = node

    def _alias(self, name: str, line: int) -> None:
        if name not in self._anchors:
            raise Unreadable(line, f"the alias `*{name}` has no anchor `&{name}` before it")
        node = self._anchors[name]
        if node is None:
            raise Unreadable(line, f"the alias `*{name}` stands inside of what it repeats")
        self._aliased += node.size
        if self._aliased > MAX_ALIASED_NODES:
            raise Unreadable(line, f"aliases repeat more than {MAX_ALIASED_NODES} values")
        self._place(node)


def _encoded(text: str | bytes) -> bytes:
    try:
        data = text.encode() if isinstance(text, str) else text
        data.decode()
    except UnicodeEncodeError as error:
        raise Unreadable(error.object.count("\n", 0, error.start) + 1, "a lone surrogate is not text") from None
    except UnicodeDecodeError as error:
        raise Unreadable(error.object.count(b"\n", 0, error.start) + 1, "not UTF-8; save the file as UTF-8") from None
    if len(data) > MAX_BYTES:
        raise Unreadable(0, f"larger than {MAX_BYTES // 1_048_576} MiB")
    return data


def _tagged(tag: str, line: int) -> Unreadable:
    return Unreadable(line, f"the tag `{tag[:60]}` is not read; write the value without it")


def _explained(error: yaml.MarkedYAMLError, data: bytes) -> Unreadable:
    """The parser's words, which quote nothing of the file, and what usually helps."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    problem = error.problem or "not YAML"
    at_fault = data.split(b"\n")[line - 1] if line and line <= data.count(b"\n") + 1 else b""
    if b"\t" in at_fault[: mark.column + 1 if mark else 0]:
        return Unreadable(line, "a tab cannot indent; use spaces")
    if "mapping values are not allowed" in problem:
        return Unreadable(line, "a second `: ` on this line; put a text that holds `: ` in quotes")
    if "cannot start any token" in problem:
        return Unreadable(line, "a text cannot begin with this character; put it in quotes")
    if error.context and error.context_mark and error.context_mark.line + 1 != line:
        return Unreadable(line, f"{problem} ({error.context} that began on line {error.context_mark.line + 1})")
    return Unreadable(line, problem)
