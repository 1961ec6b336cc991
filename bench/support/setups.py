"""What Gatepost is told to do, beside `node.plain` and `node.full`, and the requests that go with it: one setup for
each row of the bench's table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import keys
from bench.support.node import CONSUMERS, many_routes, plain
from bench.support.policy_cases import MANY, ORDER, SCHEMA, rs256

LUA = Path(__file__).parent / "lua"
TOKENS = 12_000  # more than a node remembers: each is verified each time it comes
ROUTES = 10_000
KEYS = 1_000_000
CALLERS = 20_000


class Setup(NamedTuple):
    """One node's settings and the load's requests. `fill` writes into the node's folder before it starts."""

    settings: dict[str, Any]
    headers: Sequence[str] = ()
    script: Path | None = None
    arguments: Sequence[str] = ()
    fill: Callable[[Path], None] | None = None


def together(backend: int) -> dict[str, Any]:
    """Key, rate limit, quota and request id, with analytics, which are on where nobody turns them off."""
    return with_policies(
        backend,
        {"request_id": {}},
        {"api_key": {}},
        {"rate_limit": {"limit": MANY, "window": "1m", "by": "consumer.id"}},
        {"quota": {"limit": MANY, "period": "day", "by": "consumer.id"}},
    ) | {
        "consumers": {
            f"c{number}": {"keys": [{"sha256": hashlib.sha256(b"k%d" % number).hexdigest()}]}
            for number in range(CONSUMERS)
        }
    }


def with_policies(backend: int, *policies: dict[str, Any]) -> dict[str, Any]:
    settings = plain(backend)
    settings["routes"]["all"]["policies"] = list(policies)
    return settings


def jwt(backend: int, directory: Path) -> Setup:
    """The same token again, as one client on a kept connection sends it."""
    token, public = rs256()
    return Setup(_jwt(backend, public), [f"Authorization: Bearer {token()}"])


def many_tokens(backend: int, directory: Path) -> Setup:
    """A signature to verify for each request."""
    token, public = rs256()
    file = directory / "tokens"
    file.write_text("\n".join(f"Bearer {token(number)}" for number in range(TOKENS)))
    return Setup(_jwt(backend, public), script=LUA / "lines.lua", arguments=["Authorization", str(file)])


def quota(backend: int, directory: Path) -> Setup:
    return Setup(with_policies(backend, {"quota": {"limit": MANY, "period": "day"}}))


def validate(backend: int, directory: Path) -> Setup:
    file = directory / "order.json"
    file.write_text(ORDER)
    settings = with_policies(backend, {"validate": {"body": {"schema": SCHEMA}}})
    return Setup(settings, script=LUA / "body.lua", arguments=[str(file)])


def cache(backend: int, directory: Path) -> Setup:
    """1 KiB out of memory: the service is asked once."""
    return Setup(with_policies(backend, {"cache": {"ttl": "1h"}}))


def routes(backend: int, directory: Path) -> Setup:
    """Each request for another of them."""
    return Setup(many_routes(backend, ROUTES), script=LUA / "routes.lua", arguments=[str(ROUTES)])


def stored_keys(backend: int, directory: Path) -> Setup:
    """A million consumers with a key each in the store, of whom 20,000 call."""
    file = directory / "keys"
    file.write_text("\n".join(keys.key(n * 37 % KEYS) for n in range(CALLERS)))
    settings = with_policies(backend, {"api_key": {}}) | {"plans": {"free": {}}}
    arguments = ["X-Api-Key", str(file)]
    return Setup(settings, script=LUA / "lines.lua", arguments=arguments, fill=lambda folder: keys.fill(folder, KEYS))


def all_together(backend: int, directory: Path) -> Setup:
    return Setup(together(backend))


SETUPS: Mapping[str, Callable[[int, Path], Setup]] = {
    "jwt": jwt,
    "tokens": many_tokens,
    "quota": quota,
    "validate": validate,
    "cache": cache,
    "routes": routes,
    "keys": stored_keys,
    "together": all_together,
}


def _jwt(backend: int, public: str) -> dict[str, Any]:
    use = {"algorithms": ["RS256"], "public_keys": [public], "issuers": ["https://login.example.com"]}
    return with_policies(backend, {"jwt": use})
