"""docs/configuration.md names every setting with its unit and default, and no other; the docs' examples load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect as inspect

from gatepost.config.loading import load_text
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.combined import AlternativeUse, CredentialUse
from gatepost.config.schema import Config

DOCS = Path(__file__).parents[3] / "docs"


def settings(cls: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted name, unit, default) of every setting that is no mere group."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        name = prefix + field.encode_name
        group, below = _group(field.type, name)
        if group is not None:
            yield from settings(group, below)
        else:
            yield name, _unit(field.type), _default(field)


def documented() -> list[tuple[str, str, str]]:
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|", (DOCS / "configuration.md").read_text(), re.MULTILINE)
    return [(name, unit.strip(), default.strip()) for name, unit, default in rows]


def test_every_setting_stands_in_the_docs_with_its_unit_and_default() -> None:
    assert documented() == list(settings(Config))


def test_the_examples_of_the_docs_load() -> None:
    for page in ("configuration.md", "expressions.md"):
        blocks = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
        assert blocks, page
        for block in blocks:
            load_text(block, environ={"WEB_SHOP_KEY_SHA256": "ab" * 32, "LIVE_SECRET": "s"})


# Policies stand in the table once, as those of a route.
_ELSEWHERE = (PolicyUse, CredentialUse, AlternativeUse)


def _group(kind: inspect.Type, name: str) -> tuple[type[msgspec.Struct] | None, str]:
    kind = _bare(kind)
    if isinstance(kind, inspect.StructType):
        return kind.cls, f"{name}."
    if isinstance(kind, inspect.VarTupleType) and isinstance(item := _bare(kind.item_type), inspect.StructType):
        if item.cls in _ELSEWHERE and name != "routes.NAME.policies":
            return None, name
        return item.cls, f"{name}[]."
    if isinstance(kind, inspect.DictType) and isinstance(value := _bare(kind.value_type), inspect.StructType):
        if value.cls in _ELSEWHERE:
            return None, name
        return value.cls, f"{name}.NAME."
    return None, name


def _bare(kind: inspect.Type) -> inspect.Type:
    if isinstance(kind, inspect.UnionType):
        (kind,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _unit(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.UnionType):
        (kind,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
    unit = ""
    if isinstance(kind, inspect.Metadata):
        extra = kind.extra or {}
        unit, kind = (
            extra.get("form") or (extra["ref"].removesuffix("s") if "ref" in extra else extra.get("unit")),
            kind.type,
        )
    if unit:
        return str(unit)
    if isinstance(kind, inspect.VarTupleType):
        return f"list of {_unit(kind.item_type)}"
    if isinstance(kind, inspect.DictType):
        return f"{_unit(kind.key_type)} → {_unit(kind.value_type)}"
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(f"`{value}`" for value in sorted(kind.values, key=str))
    if isinstance(kind, inspect.StructType) and kind.cls in _ELSEWHERE:
        return "policy"
    names = {
        inspect.BoolType: "true or false",
        inspect.StrType: "text",
        inspect.IntType: "count",
        inspect.FloatType: "number",
    }
    return names[type(kind)]


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    kind = _bare(field.type)
    unit = field.type.extra["unit"] if isinstance(field.type, inspect.Metadata) and field.type.extra else ""
    if isinstance(kind, inspect.VarTupleType) and value:
        return "`[" + ", ".join(_duration(item) if isinstance(item, float) else str(item) for item in value) + "]`"
    return _written(value, unit)


def _written(value: Any, unit: str) -> str:
    if value is None or value in ((), {}):
        return "none"
    if value is True or value is False:
        return "`true`" if value else "`false`"
    if unit == "duration":
        return f"`{_duration(value)}`"
    if unit == "size":
        return f"`{_size(value)}`"
    return f"`{value}`" if value != "" else "empty"


def _duration(seconds: float) -> str:
    for suffix, factor in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % factor == 0:
            return f"{seconds / factor:g}{suffix}"
    return f"{seconds:g}s" if seconds else "0"


def _size(count: int) -> str:
    for suffix, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count and count % factor == 0:
            return f"{count // factor}{suffix}"
    return str(count)
