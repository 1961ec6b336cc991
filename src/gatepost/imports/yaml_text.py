"""Our YAML: whatever some reader could take for another type stands in quotes."""

from __future__ import annotations

from typing import Any

import yaml

from gatepost.config.tree import Scalar, is_ambiguous


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if not text or is_ambiguous(Scalar(text, True, 0)) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def yaml_text(value: Any, heading: str) -> str:
    """A document; `heading` stands above it as a comment."""
    body: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110
    )
    return "".join(f"# {line}\n" for line in heading.splitlines()) + "\n" + body
