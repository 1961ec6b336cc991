"""`body_size`: a request's body may have so many bytes."""

from __future__ import annotations

from gatepost.config.values import Bytes, Strict


class BodySizePolicy(Strict, frozen=True):
    limit: Bytes
