"""The documents say what is so: their examples load, their commands exist, their links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from tests.support.shop import ROOT, SHOP

from gatepost.cli import app
from gatepost.policies import POLICIES

DOCS = sorted(
    path for folder in (ROOT, ROOT / "docs", ROOT / "docs" / "decisions", SHOP) for path in folder.glob("*.md")
)
SOURCES = sorted((ROOT / "src" / "gatepost").rglob("*.py"))
ENVIRONMENT = {
    "WEB_SHOP_KEY_SHA256": "ab" * 32,
    "BACK_OFFICE_KEY_SHA256": "cd" * 32,
    "PARTNER_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "LIVE_SECRET": "an-example-secret-of-32-bytes-or-more",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def configurations() -> Iterator[Any]:
    """Every example of a configuration. Those with `…` in it leave something out, and say so by it."""
    for path in DOCS:
        for number, text in enumerate(blocks(path, "yaml"), 1):
            if "…" not in text:
                yield pytest.param(text, id=f"{name(path)}-{number}")
    yield pytest.param((SHOP / "gatepost.yaml").read_text(), id="the shop's")


@pytest.mark.parametrize("text", list(configurations()))
def test_every_configuration_in_the_docs_is_good(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    document = yaml.safe_load(text)
    # An example of a section may name routes and services that stand elsewhere.
    if "routes" not in document:
        users = [name for one in document.get("consumers", {}).values() for name in one.get("routes", [])]
        document["routes"] = {name: {"match": {"path": f"/{name}"}, "service": "any"} for name in users}
        text += yaml.safe_dump({"routes": document["routes"]})
    if "services" not in document:
        named = {route["service"] for route in document["routes"].values()}
        text += yaml.safe_dump({"services": {each: {"targets": ["http://127.0.0.1:9000"]} for each in named}})
    for module in (ROOT / "examples" / "extending").glob("*.py"):
        (tmp_path / module.name).write_bytes(module.read_bytes())
    file = tmp_path / "gatepost.yaml"
    file.write_text(text)
    typer.main.get_command(app).main(["check", str(file)], standalone_mode=False)
    assert ": good:" in capsys.readouterr().out


def commands() -> Iterator[Any]:
    """Every call of `gatepost` and `make` in the docs' blocks of code."""
    for path in DOCS:
        code = "\n".join(blocks(path, "sh")) + "\n".join(re.findall(r"^    (.*)$", path.read_text(), re.MULTILINE))
        for line in code.splitlines():
            if re.match(r"\s*(\.venv/bin/)?(gatepost|make) [a-z]", line) and "[" not in line:
                call = line.partition("#")[0].rstrip(" &").removeprefix(".venv/bin/").strip()
                yield pytest.param(call, id=f"{name(path)}: {call}")


@pytest.mark.parametrize("call", list(commands()))
def test_every_command_in_the_docs_exists(call: str) -> None:
    program, *words = shlex.split(call.replace("FILE", "gatepost.yaml"))
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words if "=" not in word and word not in targets] == []
        return
    command: Any = typer.main.get_command(app)
    context = command.make_context("gatepost", list(words))
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no `gatepost {words[0]}`"
        command = command.commands[words.pop(0)]
        if not hasattr(command, "commands"):
            # Parsed as it would be, and not run.
            command.make_context(call, words, parent=context)


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_the_table_of_contents_has_every_page() -> None:
    contents = (ROOT / "docs" / "README.md").read_text()
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    assert sorted(page for page in pages if contents.count(f"({page})") != 1) == []  # each once


def test_the_map_has_every_package_and_every_policy() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    package = ROOT / "src" / "gatepost"
    named = [f"{path.parent.name}/" for path in package.rglob("__init__.py") if path.parent != package]
    assert sorted(name for name in named if not re.search(rf"^ +{name} ", page, re.MULTILINE)) == []
    assert sorted(name for name in POLICIES if f"`{name}`" not in page) == []


def test_the_readme_shows_what_the_demo_says() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"<!-- demo -->\n```text\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    demo = [sys.executable, str(SHOP / "demo.py"), "--once"]
    done = subprocess.run(demo, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = {_plain(line) for line in done.stdout.splitlines()}
    assert [line for line in shown[1].splitlines() if _plain(line) not in said] == []


def _plain(line: str) -> str:
    """A line without what differs from run to run."""
    return re.sub(r"msg_\w+", "msg_", re.sub(r"^ +\d+\.\d{3} s", "", line)).rstrip()


def test_every_problem_stands_in_the_docs_with_its_status_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", (ROOT / "docs" / "problems.md").read_text(), re.MULTILINE)
    written = [(slug, int(status)) for slug, status in rows]
    assert len(written) == len(set(written))
    assert set(written) == set(problems())


def problems() -> Iterator[tuple[str, int]]:
    """(slug, status) of every problem that the code makes. What deliveries call a failed try is no client's."""
    for path in SOURCES:
        if "destinations" in path.parts:
            continue
        for call in _calls(path, "Problem", "refuse"):
            if len(call.args) >= 2 and isinstance(call.args[0], ast.Constant):
                for node in ast.walk(call.args[1]):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        yield node.value, int(str(call.args[0].value))
    # Written by hand, before there is a request: `server/refusals.py`.
    yield "too-many-connections", 503


def test_every_log_event_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    events = {
        str(call.args[0].value)
        for path in SOURCES
        for call in _calls(path, "event")
        if call.args and isinstance(call.args[0], ast.Constant) and "log" in ast.unparse(call.func)
    }
    assert len(events) > 10
    assert sorted(event for event in events if f"`{event}`" not in text) == []


def _calls(path: Path, *functions: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in functions:
                yield node
