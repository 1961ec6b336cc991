"""What machine it was, and the disk under it: figures without this say nothing."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

LIBRARIES = ("uvloop", "httptools", "msgspec", "apsw")


def describe() -> dict[str, str]:
    """Cores, processor, memory, kernel, Python and the libraries that carry the hot path."""
    model = _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo"))
    memory = _first(r"MemTotal:\s*(\d+)", Path("/proc/meminfo"))
    return {
        "cores": str(os.cpu_count()),
        "processor": model or platform.machine(),
        "memory": f"{int(memory) // 1024} MiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def load() -> float:
    """How busy the machine is: the mean run queue of the last minute. Above 1 before a run, latencies are not ours."""
    return os.getloadavg()[0]


def version_of(command: Sequence[str]) -> str:
    """The first version number that a program tells of itself; "" if it tells none."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    match = re.search(r"\d+\.\d+(\.\d+)*", told.stdout + told.stderr)
    return match[0] if match else ""


def fdatasync(directory: Path, times: int = 500) -> dict[str, float]:
    """µs of appending one page to a file and waiting for the disk: the least that an acknowledgement can cost."""
    file = directory / "fdatasync.probe"
    took = []
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(times):
            began = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            took.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(descriptor)
        file.unlink()
    cuts = statistics.quantiles(took, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


def _first(pattern: str, file: Path) -> str:
    match = re.search(pattern, file.read_text())
    return match[1].strip() if match else ""
