"""wrk, the load: one thread, as many connections as asked for, a fixed time. Its report as figures."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Load(NamedTuple):
    """What came of one run. Latencies in seconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int  # responses that were not 2xx or 3xx, and connections that failed

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class WrkFailed(Exception):
    """wrk ended with an error, or answered no request; the text is what it said."""


def run(
    url: str,
    *,
    seconds: float,
    connections: int,
    headers: Sequence[str] = (),
    script: Path | None = None,
    arguments: Sequence[str] = (),
) -> Load:
    """Raises WrkFailed."""
    whole = max(1, round(seconds))  # wrk takes whole seconds
    command = ["wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--latency", "--timeout", "10s"]
    for header in headers:
        command += ["-H", header]
    if script is not None:
        command += ["-s", str(script)]
    command += [url, "--", *arguments] if arguments else [url]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=whole + 60, check=False)
    except FileNotFoundError:
        raise WrkFailed("wrk, which makes the load, is not installed: apt-get install wrk") from None
    if done.returncode:
        raise WrkFailed(done.stdout + done.stderr)
    return parse(done.stdout)


def parse(report: str) -> Load:
    """Raises WrkFailed where the report tells of no request."""
    total = re.search(r"(\d+) requests in ([\d.]+)(\w+)", report)
    if total is None or total[1] == "0":
        raise WrkFailed(report)
    errors = 0
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    if wrong is not None:
        errors += int(wrong[1])
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    if broken is not None:
        errors += sum(map(int, broken.groups()))
    return Load(
        int(total[1]), float(total[2]) * _UNITS[total[3]], _percentile(report, 50), _percentile(report, 99), errors
    )


def _percentile(report: str, percent: int) -> float:
    match = re.search(rf"^\s+{percent}%\s+([\d.]+)(\w+)", report, re.MULTILINE)
    return float(match[1]) * _UNITS[match[2]] if match is not None else 0.0
