"""Heads as bytes. Each head is joined once and written once; exactly one framing field is written, by us."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gatepost.http1.fields import Fields, field_lines

__all__ = ["CONTINUE", "STATUS_LINES", "field_lines", "informational", "response_head", "status_line"]

STATUS_LINES: Final = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def response_head(status: int, fields: Fields, framing: bytes) -> bytes:
    """`framing` is what the connection adds: its framing field, Date, Connection, each with its CRLF."""
    return b"%b%b%b\r\n" % (
        STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status,
        field_lines(fields),
        framing,
    )


def informational(status: int, fields: Fields) -> bytes:
    return b"%b%b\r\n" % (status_line(status), field_lines(fields))
