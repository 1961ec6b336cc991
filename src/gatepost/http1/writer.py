"""Heads as bytes. Each head is joined once and written once; exactly one framing field is written, by us."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gatepost.http1.messages import FieldList, Fields

STATUS_LINES: Final = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def field_lines(fields: Fields) -> bytes:
    if type(fields) is FieldList:
        lines = fields.lines
        if lines is None:
            lines = fields.lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        return lines
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def response_head(status: int, fields: Fields, framing: bytes) -> bytes:
    """`framing` is what the connection adds: its framing field, Date, Connection, each with its CRLF."""
    return b"%b%b%b\r\n" % (
        STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status,
        field_lines(fields),
        framing,
    )


def informational(status: int, fields: Fields) -> bytes:
    return b"%b%b\r\n" % (status_line(status), field_lines(fields))
