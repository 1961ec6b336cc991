"""A foreign mapping that knows which of its keys were read: the others are what could not be carried over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gatepost.imports.result import Left

_NOTHING: Final[tuple[Any, ...]] = (None, "", 0, -1, False, [], {}, "0001-01-01T00:00:00Z")


class Foreign:
    """Values of other types than expected read as nothing, and stay unread."""

    __slots__ = ("_children", "_read", "_value", "left", "path", "where")

    def __init__(self, value: dict[str, Any], where: str, left: list[Left], path: str = "") -> None:
        self._value = value
        self._read: set[str] = set()
        self._children: dict[str, Foreign] = {}
        self.where = where
        self.path = path
        self.left = left

    def __contains__(self, key: str) -> bool:
        return not _is_nothing(self._value.get(key))

    def names(self) -> list[str]:
        return list(self._value)

    def text(self, key: str, default: str = "") -> str:
        return str(self._of(key, str, default))

    def flag(self, key: str) -> bool:
        return bool(self._of(key, bool, False))

    def number(self, key: str) -> float:
        value = self._value.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._read.add(key)
            return value
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                return 0
            self._read.add(key)
            return number
        return 0

    def texts(self, key: str) -> list[str]:
        value = self._value.get(key)
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            self._read.add(key)
            return value
        return []

    def pairs(self, key: str) -> dict[str, str]:
        value = self._value.get(key)
        if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
            self._read.add(key)
            return value
        return {}

    def raw(self, key: str) -> Any:
        self._read.add(key)
        return self._value.get(key)

    def below(self, key: str) -> Foreign:
        """The mapping under `key`, empty where there is none."""
        value = self._value.get(key)
        if not isinstance(value, dict):
            return Foreign({}, self.where, self.left, self._path(key))
        return self._child(key, value)

    def each(self, key: str) -> Iterator[Foreign]:
        """The mappings of a list."""
        value = self._value.get(key)
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            self._read.add(key)
            for at, item in enumerate(value):
                yield self._child(f"{key}[{at}]", item)

    def ignore(self, *keys: str) -> None:
        """They say nothing that is needed here."""
        self._read.update(keys)

    def leave(self, key: str, why: str, nearest: str = "") -> None:
        """Not carried over, or not quite; nothing where it says nothing."""
        if key in self:
            self.left.append(Left(self.where, self._path(key), why, nearest))
        self._read.add(key)

    def ignore_what_is_off(self) -> None:
        """Mappings with `enabled: false` say nothing, nor do lists of them."""
        for key, value in self._value.items():
            several = value if isinstance(value, list) else [value]
            if all(isinstance(each, dict) and each.get("enabled") is False for each in several):
                self._read.add(key)

    def unread(self) -> Iterator[str]:
        """The path of whatever says something and nobody read; a mapping of which nothing was read is one of them."""
        for key, value in self._value.items():
            if key not in self._read and key not in self._touched() and not _is_nothing(value):
                yield self._path(key)
        for child in self._children.values():
            if child._read or child._children:
                yield from child.unread()

    def _touched(self) -> set[str]:
        return {key for key, child in self._children.items() if child._read or child._children}

    def _child(self, key: str, value: dict[str, Any]) -> Foreign:
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = Foreign(value, self.where, self.left, self._path(key))
        return child

    def _of(self, key: str, kind: type, default: Any) -> Any:
        value = self._value.get(key)
        if not isinstance(value, kind):
            return default
        self._read.add(key)
        return value or default

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _is_nothing(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_nothing(each) for each in value.values())
    if isinstance(value, list):
        return all(_is_nothing(each) for each in value)
    return any(value == nothing and type(value) is type(nothing) for nothing in _NOTHING)
