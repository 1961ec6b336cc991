"""The journal's file: lines that are whole or not there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.events.journal_file import JournalFile, line_of, parse


async def append(file: JournalFile, text: bytes) -> str:
    """The reason why `text` was not kept; "" once it is on disk."""
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    file.append(text, told.set_result)
    return await asyncio.wait_for(told, 5)


texts = st.lists(st.binary().filter(lambda b: b"\n" not in b), min_size=1, max_size=5)


@given(texts, st.data())
def test_wherever_a_crash_cuts_the_whole_lines_before_it_are_read(lines: list[bytes], data: st.DataObject) -> None:
    content = b"".join(map(line_of, lines))
    cut = data.draw(st.integers(0, len(content)))
    read = parse(content[:cut])
    assert read.whole == lines[: content[:cut].count(b"\n")]
    assert read.damaged == 0
    assert read.torn == cut - len(b"".join(map(line_of, read.whole)))


@given(st.binary(max_size=200))
def test_rubbish_is_never_read_as_a_line(rubbish: bytes) -> None:
    assert parse(rubbish).whole == []


def test_a_damaged_line_in_the_midst_is_counted_and_left_out() -> None:
    content = line_of(b"one") + line_of(b"two").replace(b"two", b"tvo") + line_of(b"three")
    assert parse(content) == ([b"one", b"three"], 1, 0)


async def test_what_was_appended_is_read_again_in_order(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "journal", limit=1_000)
    assert (await file.open()).whole == []
    assert [await append(file, b"one"), await append(file, b"two")] == ["", ""]
    await file.close()
    again = JournalFile(tmp_path / "journal", limit=1_000)
    assert (await again.open()).whole == [b"one", b"two"]
    await again.close()


async def test_a_torn_end_is_cut_off_and_does_not_spoil_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(line_of(b"one") + line_of(b"two")[:-3])
    file = JournalFile(path, limit=1_000)
    assert (await file.open()).whole == [b"one"]
    await append(file, b"three")
    await file.close()
    assert parse(path.read_bytes()) == ([b"one", b"three"], 0, 0)


async def test_a_damaged_file_is_kept_for_a_person(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    content = b"rubbish\n" + line_of(b"one")
    path.write_bytes(content)
    file = JournalFile(path, limit=1_000)
    assert await file.open() == ([b"one"], 1, 0)
    await file.close()
    copy = tmp_path / "journal.damaged"
    assert copy.read_bytes() == content
    assert copy.stat().st_mode & 0o777 == 0o600


async def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"")
    path.chmod(0o644)
    file = JournalFile(path, limit=1_000)
    await file.open()
    await file.close()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_truncating_keeps_what_is_appended_after_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    file = JournalFile(path, limit=1_000)
    await file.open()
    file.append(b"one", lambda reason: None)
    file.truncate()
    assert await append(file, b"two") == ""
    await file.close()
    assert parse(path.read_bytes()).whole == [b"two"]


async def test_a_full_journal_says_so_and_takes_again_what_fits(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "journal", limit=40)
    await file.open()
    assert await append(file, b"x" * 20) == ""
    assert "full" in await append(file, b"x" * 20)
    file.truncate()
    assert await append(file, b"x" * 20) == ""
    await file.close()


async def test_a_write_that_fails_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    file = JournalFile(path, limit=1_000)
    await file.open()
    await append(file, b"one")
    real_write = os.write

    def disk_full(fd: int, data: bytes) -> int:
        if len(data) > 5:
            return real_write(fd, data[:5])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", disk_full)
        patch.setattr(os, "ftruncate", _refuse)
        assert await append(file, b"t") == "No space left on device"
        patch.undo()
    assert await append(file, b"three") == ""
    await file.close()
    assert parse(path.read_bytes()).whole == [b"one", b"three"]


def _refuse(fd: int, size: int) -> None:
    raise OSError(5, "Input/output error")


async def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    file = JournalFile(path, limit=100_000)
    await file.open()
    for n in range(100):
        file.append(b"%d" % n, lambda reason: None)
    await file.close()
    await file.close()
    assert len(parse(path.read_bytes()).whole) == 100


async def test_nothing_is_kept_before_its_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: moments.append("synced"))
    file = JournalFile(tmp_path / "journal", limit=1_000)
    await file.open()
    told = asyncio.Event()
    file.append(b"one", lambda reason: (moments.append("told"), told.set())[1])
    await asyncio.wait_for(told.wait(), 5)
    await file.close()
    assert moments == ["synced", "told"]


async def test_a_closed_journal_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "journal", limit=1_000)
    await file.open()
    await file.close()
    assert "closed" in await append(file, b"one")
