"""Gatepost under measurement: its configuration, its process, and calls of its control API."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from bench.support.process import Process, free_port

CONSUMERS = 10_000  # as many keys as the floor holds


class Node:
    """One node. `settings` are laid over the defaults of the benches: own ports, own store, no access record."""

    def __init__(self, name: str, directory: Path, settings: dict[str, Any], *, tls: tuple[Path, Path] | None = None):
        self.name = name
        self.directory = directory / name.replace(" ", "-")
        self.directory.mkdir(exist_ok=True)
        self.file = self.directory / "gatepost.yaml"
        self.traffic = free_port()
        self.control = free_port()
        self._tls = tls
        self.write(settings)
        self.process: Process

    def write(self, settings: dict[str, Any]) -> None:
        listener: dict[str, Any] = {"address": f"127.0.0.1:{self.traffic}"}
        if self._tls is not None:
            listener["tls"] = {"cert": str(self._tls[0]), "key": str(self._tls[1])}
        whole = {
            "listen": {"traffic": listener, "control": f"127.0.0.1:{self.control}"},
            "store": f"sqlite:///{self.directory}/gatepost.db",
            "access_log": {"output": "off"},
            "limits": {"requests_per_connection": 100_000_000},
            **settings,
        }
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(whole, indent=1))  # JSON is YAML
        new.replace(self.file)

    def start(self) -> float:
        """Seconds until it accepts. Raises NotStarted."""
        program = Path(__file__).with_name("profiled.py")
        run = [str(program)] if "BENCH_PROFILE" in os.environ else ["-m", "gatepost"]
        self.process = Process(
            self.name, [sys.executable, *run, "serve", "-c", str(self.file)], directory=self.directory
        )
        return self.process.wait_for_port(self.control, within=120)  # a million keys, on a busy machine

    @property
    def token(self) -> str:
        return (self.directory / "admin.token").read_text().strip()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the control API as the administrator. Raises urllib.error.HTTPError."""
        return json.loads(self.call_raw(method, path, body) or b"null")

    def call_raw(self, method: str, path: str, body: Any = None) -> bytes:
        """The answer as it came: decoding a long one would hold up what else this process measures."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: bytes = response.read()
        return answer


def plain(backend: int) -> dict[str, Any]:
    """One route to one target."""
    return {
        "services": {"service": {"targets": [f"http://127.0.0.1:{backend}"], "pool": 1024}},
        "routes": {"all": {"match": {"path": "/*"}, "service": "service"}},
    }


def full(backend: int, record: Path) -> dict[str, Any]:
    """And an API key out of 10,000, a rate limit by consumer, and the access record."""
    settings = plain(backend)
    settings["routes"]["all"]["policies"] = [
        {"api_key": {}},
        {"rate_limit": {"limit": 1_000_000_000, "window": "1m", "by": "consumer.id"}},
    ]
    settings["consumers"] = {
        f"c{number}": {"keys": [{"sha256": hashlib.sha256(b"k%d" % number).hexdigest()}]} for number in range(CONSUMERS)
    }
    settings["access_log"] = {"output": str(record)}
    return settings


def many_routes(backend: int, number: int) -> dict[str, Any]:
    """`number` routes beside the one that is measured."""
    settings = plain(backend)
    settings["routes"] |= {
        f"r{n}": {"match": {"path": f"/api/v{n % 10}/things-{n}/{{id}}"}, "service": "service"} for n in range(number)
    }
    return settings
