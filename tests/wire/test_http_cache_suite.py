"""http-cache-tests (https://cache-tests.fyi) through a real node. docs/caching.md lists what does not pass, and why."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from tests.support.node import free_port, running

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "node_modules" / "http-cache-tests"
RUNNER = ROOT / "tests" / "support" / "http_cache_tests.mjs"


def expected() -> set[str]:
    """The ids of the page's table."""
    chapter = (ROOT / "docs" / "caching.md").read_text().partition("## http-cache-tests")[2]
    return {
        name for row in re.findall(r"^\| (`.*?) \|", chapter, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }


def counts() -> tuple[int, int]:
    text = (ROOT / "docs" / "caching.md").read_text()
    found = re.search(r"\*\*(\d+) of (\d+)\*\*", text)
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.mark.skipif(
    not shutil.which("node") or not PACKAGE.is_dir(), reason="needs Node.js and `npm ci`: the package http-cache-tests"
)
async def test_exactly_the_tests_pass_that_the_page_says(tmp_path: Path) -> None:
    port = free_port()
    origin = await asyncio.create_subprocess_exec(
        *("node", "--no-warnings", str(PACKAGE / "server" / "server.mjs")),
        cwd=tmp_path,
        env={
            **os.environ,
            "npm_config_protocol": "http",
            "npm_config_port": str(port),
            "npm_config_pidfile": str(tmp_path / "server.pid"),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    settings = {
        "services": {"origin": {"targets": [f"http://127.0.0.1:{port}"]}},
        "routes": {"all": {"match": {"path": "/*"}, "service": "origin", "policies": [{"cache": {}}]}},
    }
    try:
        assert origin.stdout is not None
        await asyncio.wait_for(origin.stdout.readline(), 20)  # it listens
        async with running(tmp_path / "node", settings) as node:
            base = f"http://127.0.0.1:{node.traffic[1]}"
            results = await run(base)
            # Some have one second for two requests: those that differ are asked again, without the crowd.
            differing = expected() ^ failed(results)
            if differing:
                results |= await run(base, *sorted(differing))
    finally:
        origin.kill()
        await origin.wait()
    differing = expected() ^ failed(results)
    assert not differing, {name: results.get(name) for name in differing}
    assert (len(results) - len(expected()), len(results)) == counts()


async def run(base: str, *ids: str) -> dict[str, object]:
    tests = await asyncio.create_subprocess_exec(
        *("node", "--no-warnings", str(RUNNER), base, *ids), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(tests.communicate(), 60)
    results: dict[str, object] = json.loads(out)
    return results


def failed(results: dict[str, object]) -> set[str]:
    return {name for name, result in results.items() if result is not True}
