from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatepost.api import tokens
from gatepost.errors import GatepostError

CHOSEN = "an-operator-chose-this-one-0123456789"


def keep(file: Path, text: str, mode: int = 0o600) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_first_start_makes_a_token_and_the_next_ones_read_it(tmp_path: Path) -> None:
    file = tmp_path / "admin.token"
    token = tokens.load_or_create(file)
    assert token.startswith("gp_admin_")
    assert len(token) >= len("gp_admin_") + 43
    assert file.read_text() == token + "\n"
    assert tokens.load_or_create(file) == token
    assert list(tmp_path.iterdir()) == [file]


def test_only_the_owner_can_read_the_file_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        tokens.load_or_create(tmp_path / "admin.token")
    finally:
        os.umask(before)
    assert (tmp_path / "admin.token").stat().st_mode & 0o777 == 0o600


def test_a_token_never_shows_itself(tmp_path: Path) -> None:
    token = tokens.load_or_create(tmp_path / "admin.token")
    assert token not in repr(token)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o602])
def test_a_file_that_others_can_use_is_refused_with_the_way_out(tmp_path: Path, mode: int) -> None:
    file = keep(tmp_path / "admin.token", CHOSEN, mode)
    with pytest.raises(GatepostError, match=f"run: chmod 600 {file}") as raised:
        tokens.load_or_create(file)
    assert "\n" not in str(raised.value)
    assert CHOSEN not in str(raised.value)


def test_an_operator_may_choose_the_token(tmp_path: Path) -> None:
    assert tokens.load_or_create(keep(tmp_path / "admin.token", CHOSEN + "\r\n")) == CHOSEN


@pytest.mark.parametrize(
    "text", ["", "\n", "short", "x" * 513, CHOSEN + " " + CHOSEN, CHOSEN + "\n" + CHOSEN, "é" * 40]
)
def test_a_file_without_a_token_is_refused_and_not_overwritten(tmp_path: Path, text: str) -> None:
    file = keep(tmp_path / "admin.token", text)
    with pytest.raises(GatepostError, match="holds no token"):
        tokens.load_or_create(file)
    assert file.read_text() == text


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "admin.token").mkdir(mode=0o700)
    with pytest.raises(GatepostError, match=r"admin\.token"):
        tokens.load_or_create(tmp_path / "admin.token")


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(GatepostError, match=r"cannot write the admin token's file .*No such file"):
        tokens.load_or_create(tmp_path / "nowhere" / "admin.token")
