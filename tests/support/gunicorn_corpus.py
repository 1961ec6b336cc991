"""gunicorn's request files, as bytes, and what gunicorn expects of the valid ones.

`tools/fetch-gunicorn-corpus` puts them into `.cache/`. The expectations are Python files; they are read as data here
(literals, names and a few methods of text), never run.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, NamedTuple

CORPUS = Path(__file__).resolve().parents[2] / ".cache" / "gunicorn" / "27.0.1"
MISSING = "gunicorn's request files are not there: run tools/fetch-gunicorn-corpus (it needs a package index)"
_METHODS = {"decode", "encode", "replace", "strip"}


class Expected(NamedTuple):
    method: bytes
    target: bytes
    body: bytes


def names(kind: str) -> list[str]:
    """The files of a kind, `valid` or `invalid`, without their suffix; empty where the corpus is missing."""
    return sorted(path.stem for path in (CORPUS / kind).glob("*.http"))


def wire(kind: str, name: str) -> bytes:
    """The bytes of a file: line ends are written `\\r\\n` there and its own line feeds mean nothing."""
    data = (CORPUS / kind / f"{name}.http").read_bytes().replace(b"\n", b"")
    for written, meant in ((b"\\r\\n", b"\r\n"), (b"\\0", b"\0"), (b"\\n", b"\n"), (b"\\t", b"\t")):
        data = data.replace(written, meant)
    return re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda escape: bytes([int(escape[1], 16)]), data)


def expected(name: str) -> list[Expected]:
    """The requests in a valid file, in order."""
    known: dict[str, Any] = {}
    for statement in ast.parse((CORPUS / "valid" / f"{name}.py").read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            try:
                known[target.id] = _value(statement.value, known)
            except NotData:
                continue  # gunicorn's own settings
    requests = known["request"] if isinstance(known["request"], list) else [known["request"]]
    return [Expected(r["method"].encode(), r["uri"].encode("latin-1"), r["body"] or b"") for r in requests]


class NotData(Exception):
    """Something else than a literal."""


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.List(elts=items):
            return [_value(item, known) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, known) for item in items)
        case ast.Dict(keys=keys, values=values):
            return {_value(key, known): _value(value, known) for key, value in zip(keys, values, strict=True) if key}
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, known) + _value(right, known)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _value(left, known) * _value(right, known)
        case ast.Call(func=ast.Name(id="uri"), args=[argument]):
            return _value(argument, known)
        case ast.Call(func=ast.Attribute(value=of, attr=method), args=arguments) if method in _METHODS:
            return getattr(_value(of, known), method)(*[_value(argument, known) for argument in arguments])
    raise NotData(ast.dump(node)[:80])
