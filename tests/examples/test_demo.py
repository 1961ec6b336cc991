"""The demo does what it says, says what it does, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tests.support.rawclient import soon
from tests.support.shop import ROOT, SHOP, needs_express

LONG = 60.0  # seconds; it takes five


async def run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await soon(process.communicate(), "the end of the demo", LONG)
    return process.returncode or 0, out.decode()


@pytest.mark.parametrize("partner", ["python", pytest.param("express", marks=needs_express)])
async def test_the_demo_runs_once_and_every_step_is_good(partner: str) -> None:
    flags = ["--express"] if partner == "express" else []
    code, out = await run(sys.executable, "-m", "gatepost", "demo", "--once", *flags)
    assert code == 0, out
    assert out.count("✓") == 7, out
    assert "✗" not in out
    assert "Traceback" not in out


async def test_the_demo_sees_that_a_step_is_wrong(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(SHOP, shop, ignore=shutil.ignore_patterns("__pycache__"))
    service = shop / "order_service.py"
    service.write_text(service.read_text().replace("12345 + len", "12344 + len"))
    code, out = await run(sys.executable, str(shop / "demo.py"), "--once")
    assert code == 1, out
    assert out.count("✗") == 1, out
    assert "12344" in out
    assert "Traceback" not in out


async def test_a_part_that_does_not_start_is_named_with_its_own_words(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(SHOP, shop, ignore=shutil.ignore_patterns("__pycache__"))
    file = shop / "gatepost.yaml"
    file.write_text(file.read_text().replace("services:", "servces:"))
    code, out = await run(sys.executable, str(shop / "demo.py"), "--once")
    assert code == 1, out
    assert "servces: unknown key; did you mean `services`?" in out
    assert "Traceback" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_ends_everything_with_exit_code_0(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatepost", "demo"),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    out = b""
    while b"follows /shop/orders/12345" not in out:  # in the midst of it: a stream is open, statuses are to come
        line = await soon(process.stdout.readline(), "the demo's next line", LONG)
        assert line, out.decode()
        out += line
    children = _children(process.pid)
    assert len(children) == 3
    process.send_signal(number)
    rest, _ = await soon(process.communicate(), "the end of the demo", LONG)
    assert process.returncode == 0, (out + rest).decode()
    assert b"everything ended with 0" in rest
    assert b"Traceback" not in rest
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def _children(parent: int) -> list[int]:
    def parent_of(stat: Path) -> int:
        try:
            return int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            return 0  # it ended while we looked

    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if parent_of(stat) == parent]
