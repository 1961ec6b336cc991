"""The page that renders the OpenAPI document: one file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final

# The page needs its own style and nothing else.
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem 1rem 6rem; }
h1 small, .kind { font-weight: normal; opacity: .65; }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; text-transform: none; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: 0 .8rem; }
summary { cursor: pointer; padding: .5rem 0; }
code, .method { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.method { display: inline-block; font-weight: 700; width: 4.5rem; }
table { border-collapse: collapse; margin: .3rem 0 1rem; width: 100%; }
td { border-top: 1px solid var(--line); padding: .25rem .8rem .25rem 0; vertical-align: top; }
td:first-child { width: 14rem; } td p { margin: 0; }
.says { float: right; opacity: .65; } @media (max-width: 50rem) { .says { display: none; } }
nav a { display: inline-block; margin-right: 1rem; } h3 { font-size: 1rem; margin: 1rem 0 .2rem; }
"""


def page(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI 3.1 document."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    schemas = document["components"]["schemas"]
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])} API</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>',
        f"<h1>{escape(info['title'])} <small>control API {escape(info['version'])}</small></h1>",
        f"<p>{_text(info['description'])}</p>",
        "<nav>",
        *(f'<a href="#{_anchor(tag)}">{escape(tag)}</a>' for tag in by_tag),
        '<a href="#schemas">Schemas</a><a href="/api/v1/openapi.json">OpenAPI 3.1</a></nav>',
    ]
    for tag, operations in by_tag.items():
        parts += [f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>', *operations]
    parts.append('<h2 id="schemas">Schemas</h2>')
    parts += [_schema(name, schema) for name, schema in sorted(schemas.items())]
    return "".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        _row(
            f"{parameter['name']} <span class=kind>{escape(parameter['in'])}</span>",
            _kind(parameter["schema"]),
            parameter.get("description", ""),
            required=parameter.get("required", False),
        )
        for parameter in operation.get("parameters", ())
    )
    responses = "".join(
        _row(f"<b>{escape(status)}</b>", "".join(_content(response)), response.get("description", ""))
        for status, response in sorted(operation["responses"].items())
    )
    body = "".join(_content(operation.get("requestBody", {})))
    return (
        f"<details><summary><span class=method>{method.upper()}</span><code>{escape(path)}</code>"
        f" <span class=says>{_text(_first_sentence(operation.get('description', '')))}</span></summary>"
        f"<p>{_text(operation.get('description', ''))}</p>"
        + (f"<h3>Parameters</h3><table>{parameters}</table>" if parameters else "")
        + (f"<h3>Body</h3><p>{body}</p>" if body else "")
        + f"<h3>Answers</h3><table>{responses}</table></details>"
    )


def _first_sentence(text: str) -> str:
    return text.partition("\n\n")[0].partition(". ")[0].rstrip(".").replace("\n", " ")


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        _row(escape(field), _kind(about), about.get("description", ""), required=field in required)
        for field, about in schema.get("properties", {}).items()
    )
    if "enum" in schema:
        rows = _row("values", escape(", ".join(map(str, schema["enum"]))), "")
    return (
        f'<h3 id="{_anchor(name)}"><code>{escape(name)}</code></h3>'
        f"<p>{_text(schema.get('description', ''))}</p><table>{rows}</table>"
    )


def _row(name: str, kind: str, description: str, *, required: bool = False) -> str:
    mark = " <span class=kind>required</span>" if required else ""
    return f"<tr><td><code>{name}</code>{mark}<td>{kind}<td><p>{_text(description)}</p>"


def _content(holder: dict[str, Any]) -> Iterator[str]:
    for content in holder.get("content", {}).values():
        yield _kind(content["schema"])


def _kind(schema: dict[str, Any]) -> str:
    """A schema's type in a few words, with links to the named ones."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_anchor(name)}"><code>{escape(name)}</code></a>'
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return escape(" or ".join(map(str, schema["enum"])))
    kind = schema.get("type", "anything")
    if kind == "array":
        kind = f"list of {_kind(schema.get('items', {}))}"
    elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        kind = f"object of {_kind(schema['additionalProperties'])}"
    elif "format" in schema:
        kind = escape(f"{kind} ({schema['format']})")
    if "default" in schema and schema["default"] not in (None, "", {}):
        kind += f", <code>{escape(str(schema['default']).lower())}</code> if absent"
    return str(kind)


def _text(text: str) -> str:
    """Escaped, with `code` and paragraphs."""
    pieces = escape(text, quote=False).replace("\n\n", "<p>").split("`")
    return "".join(f"<code>{piece}</code>" if place % 2 else piece for place, piece in enumerate(pieces))


def _anchor(name: str) -> str:
    return escape(name.lower().replace(" ", "-"))
