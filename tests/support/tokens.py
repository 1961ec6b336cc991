"""Tokens for live streams: valid ones, and any other that a test asks for."""

from __future__ import annotations

import warnings
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

SECRET = "an-example-secret-of-32-bytes-or-more"
NOW = 1_700_000_000.0  # where a ManualClock begins
CLAIMS: dict[str, Any] = {"mercure": {"subscribe": ["/shop/orders/1", "/shop/news/*"]}, "exp": NOW + 60}


def token(claims: dict[str, Any] | None = None, secret: str = SECRET, alg: str = "HS256", **changes: Any) -> str:
    """A JWT with CLAIMS unless told otherwise."""
    payload = (CLAIMS if claims is None else claims) | changes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the keys here are bad on purpose
        return jwt.encode({"alg": alg}, payload, OctKey.import_key(secret), algorithms=[alg])
