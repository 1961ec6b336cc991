"""What is kept of a captured exchange: one JSON document, without what is secret. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from gatepost.analytics.capture import Part, Seen
from gatepost.analytics.redaction import HIDDEN, Redaction
from gatepost.http1.messages import Fields

_TEXT: Final = re.compile(
    r"text/|application/(?:[a-z0-9.+-]+\+)?(?:json|xml)\b|application/(?:x-www-form-urlencoded|graphql|x-ndjson|problem)"
)
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json$|text/json$")


def document_of(seen: Seen) -> bytes:
    redaction = seen.redaction
    return msgspec.json.encode(
        {
            "request_id": seen.request_id.decode("latin-1"),
            "client": seen.client,
            "consumer": seen.consumer,
            "target": seen.target,
            "outcome": seen.outcome,
            "duration_ms": round(seen.duration * 1000, 3),
            "upstream_ms": None if seen.upstream is None else round(seen.upstream * 1000, 3),
            "request": {
                "method": seen.method.decode("latin-1"),
                "scheme": seen.scheme.decode("latin-1"),
                "host": seen.host.decode("latin-1"),
                "path": _path(seen),
                "query": redaction.query(seen.query.decode("latin-1")),
                "headers": redaction.fields(seen.request.fields),
                "body": body_of(seen.request, redaction),
            },
            "response": {
                "status": seen.status,
                "headers": redaction.fields(seen.response_fields),
                "body": body_of(seen.response, redaction),
            },
        }
    )


def body_of(part: Part, redaction: Redaction) -> dict[str, Any] | None:
    """None where there was none; `text` is null where it is not shown, and `why` says so."""
    if not part.size:
        return None
    media_type, coding = _of(part.fields, b"content-type"), _of(part.fields, b"content-encoding")
    media_type = media_type.partition(";")[0].strip().lower()
    out: dict[str, Any] = {"size": part.size, "type": media_type, "text": None, "truncated": False}
    if coding and coding.lower() != "identity":
        return out | {"why": f"it is encoded: {coding}"}
    if not _TEXT.match(media_type):
        return out | {"why": "it is no text"}
    if not part.data:
        return out | {"why": "its beginning was not seen"}
    truncated = len(part.data) < part.size
    text = part.data.decode("utf-8", "replace")
    if _JSON.fullmatch(media_type):
        whole = None if truncated else redaction.json(part.data)
        text = redaction.cut_json(text) if whole is None else whole
    elif media_type == _FORM:
        text = redaction.query(text)
    else:
        text = redaction.text(redaction.cut_json(text))
    return out | {"text": text, "truncated": truncated}


def _path(seen: Seen) -> str:
    """A parameter of the path whose name looks like a secret's loses its value as well."""
    path = redacted = seen.path
    for name, value in seen.params.items():
        if value and seen.redaction.secret(name):
            redacted = redacted.replace(value, HIDDEN)
    return seen.redaction.text(redacted) if redacted == path else redacted


def _of(fields: Fields, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in fields if key == name), "")
