"""Paths of the control API that its listener must know before the rest of it is loaded."""

from __future__ import annotations

from typing import Final

OPENAPI_PATH: Final = "/api/v1/openapi.json"
DOCS_PATH: Final = "/docs"
ROOT_PATH: Final = "/"
PORTAL_PATH: Final = "/portal"

# What the listener lets through without the admin token: nothing of it tells anything about this installation.
OPEN_PATHS: Final = ("/api/v1/health", "/api/v1/health/ping", OPENAPI_PATH, DOCS_PATH, PORTAL_PATH, ROOT_PATH)

# What is no webhook service's but Gatepost's own: these refuse with problem documents (`problems.py`).
OWN: Final = (
    "/api/v1/analytics", "/api/v1/audit", "/api/v1/cache", "/api/v1/capture", "/api/v1/consumer", "/api/v1/plan",
)  # fmt: skip


def own(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in OWN)
