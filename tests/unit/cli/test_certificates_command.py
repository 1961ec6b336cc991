"""`gatepost certificates`: what listeners would show, read from real files."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support.certificates import Authority

from gatepost.cli import app
from gatepost.net.tls import TlsError


def run(*words: str) -> int:
    return int(typer.main.get_command(app).main(["certificates", *words], standalone_mode=False) or 0)


@pytest.fixture
def file(tmp_path: Path) -> str:
    authority = Authority(tmp_path)
    now = datetime.datetime.now(datetime.UTC)

    def pair(name: str, days: float) -> dict[str, str]:
        until = now + datetime.timedelta(days=days)
        return dict(zip(("cert", "key"), authority.issue(name, until=until), strict=True))

    tls: dict[str, Any] = pair("a.example", 100.5)
    tls["certificates"] = [pair("*.b.example", 10.5), pair("c.example", -1)]
    listen = {"traffic": ["h:80", {"address": "h:443", "tls": tls}]}
    path = tmp_path / "gatepost.yaml"
    path.write_text(json.dumps({"listen": listen}))
    return str(path)


def test_each_certificate_is_listed_with_its_end(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == "h:443"
    assert [row.split()[-2] for row in rows] == ["a.example", "*.b.example", "c.example"]
    assert "in 100 days" in rows[0]
    assert "in 10 days" in rows[1]
    assert "expired" in rows[2]


def test_the_exit_code_says_whether_one_ends_soon(file: str, tmp_path: Path) -> None:
    assert run(file, "--days", "7") == 1
    (tmp_path / "plain.yaml").write_text("listen: {traffic: 'h:80'}")
    assert run(str(tmp_path / "plain.yaml"), "--days", "7") == 0


def test_a_pair_that_cannot_be_used_is_one_line(file: str, tmp_path: Path) -> None:
    (tmp_path / "c.key").write_text("no key")
    with pytest.raises(TlsError, match="not a certificate and its key"):
        run(file)
