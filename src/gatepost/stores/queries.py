"""SQL that stands in .sql files: found by name, read once.

-- name: due
-- Comments after the name belong to the query.
SELECT … ;
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

SQL: Final = Path(__file__).parent / "sql"
_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def queries(engine: str) -> dict[str, str]:
    """Every named query of `sql/<engine>/*.sql`. Raises ValueError where a name stands twice."""
    files = sorted(path for path in (SQL / engine).glob("*.sql") if path.name != "schema.sql")
    parts = _NAME.split("\n".join(path.read_text("utf-8") for path in files))
    names = parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"sql/{engine}: a name stands twice")
    return {name: _bare(text) for name, text in zip(names, parts[2::2], strict=True)}


def schema(engine: str) -> str:
    return (SQL / engine / "schema.sql").read_text("utf-8")


def migrations(engine: str) -> list[str]:
    """The scripts of `migrations/`, in order; the first makes version 1."""
    return [path.read_text("utf-8") for path in sorted((SQL / engine / "migrations").glob("[0-9]*.sql"))]


def _bare(text: str) -> str:
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--"))
    return "\n".join(lines).rstrip().rstrip(";")
