"""Loading in a child process: a serving loop is never held, however large the file.

YAML of 10,000 routes takes a second or two of Python; in a thread it would still share the interpreter lock and take
p99 from 0.3 to 9 ms. So a child (`python -m gatepost.config.child FILE`) reads, checks and sends the result as
frames, one entry of a section at a time; the parent decodes each in microseconds. Secrets travel over that pipe and
nowhere else.

    frame  = length (4 bytes, big-endian) · msgpack of one of the structs below
    frames = Top, Entry …, End  or  Issue …, Refused
"""

from __future__ import annotations

import asyncio
import gc
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec

from gatepost.config.loading import SECTIONS, Lines, Loaded, load
from gatepost.config.schema import Config
from gatepost.config.secrets import Secret
from gatepost.errors import ConfigError, ConfigIssue

TURN: Final = 0.0005  # seconds of decoding, then the loop's other work has its turn
MAX_FRAME: Final = 67_108_864
NICENESS: Final = 5  # where cores are few, traffic comes first


class _Frame(msgspec.Struct, array_like=True, tag=True, gc=False):
    pass


class Top(_Frame):
    config: Config  # its sections empty
    lines: Any
    files: tuple[str, ...] = ()


class Entry(_Frame):
    section: str
    name: str
    value: msgspec.Raw
    lines: bytes


class End(_Frame):
    pass


class Issue(_Frame):
    issue: ConfigIssue


class Refused(_Frame):
    file: str
    files: tuple[str, ...] = ()


Frame: TypeAlias = Top | Entry | End | Issue | Refused


async def load_in_child(path: str | Path) -> Loaded:
    """`load(path)` in a process of its own. Raises ConfigError as that does, and where the child itself failed.
    Cancelled, it ends the child."""
    loop = asyncio.get_running_loop()
    # Not through the loop: it forks, which with a large parent stops everybody for 20 ms. Popen has vfork: 0.4 ms.
    child = subprocess.Popen(  # noqa: S603, ASYNC220  # our own interpreter and module
        # -P: the folder that one happens to stand in must not shadow a module
        [sys.executable, "-P", "-m", "gatepost.config.child", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    pipe: asyncio.ReadTransport | None = None
    try:
        reader = asyncio.StreamReader(limit=MAX_FRAME)
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), child.stdout)
        return await _receive(reader)
    except (asyncio.IncompleteReadError, msgspec.DecodeError) as error:
        code = await loop.run_in_executor(None, child.wait)
        reason = f"the process that reads it ended too soon (exit code {code}, {type(error).__name__}); try again"
        raise ConfigError(str(path), [ConfigIssue("", 0, reason)]) from None
    finally:
        if pipe is not None:
            pipe.close()
        child.kill()  # it has said all, or nobody listens any more; nothing where it has ended
        await asyncio.shield(loop.run_in_executor(None, child.wait))
        child.stdout.close()


def main(arguments: list[str]) -> None:
    """The child's side: frames on stdout."""
    os.nice(NICENESS)
    gc.disable()  # a short life: walking the growing tree again and again was a quarter of it
    frames: Iterator[Frame]
    try:
        frames = _frames(load(arguments[0]))
    except ConfigError as error:
        frames = iter([*map(Issue, error.issues), Refused(error.file, error.files)])
    send(sys.stdout.buffer, frames)


def send(out: BinaryIO, frames: Iterator[Frame]) -> None:
    for frame in frames:
        body = _encode(frame)
        out.write(struct.pack(">I", len(body)) + body)
    out.flush()


def _frames(loaded: Loaded) -> Iterator[Frame]:
    config, lines, files = loaded
    yield Top(msgspec.structs.replace(config, **{section: {} for section in SECTIONS}), lines.top, files)
    for section in SECTIONS:
        for name, value in getattr(config, section).items():
            yield Entry(section, name, msgspec.Raw(_encode(value)), lines.entries[section][name])
    yield End()


async def _receive(pipe: asyncio.StreamReader) -> Loaded:
    issues: list[ConfigIssue] = []
    top = Top(Config(), 0)
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    entries: dict[str, dict[str, bytes]] = {section: {} for section in SECTIONS}
    turn_ends = time.perf_counter() + TURN
    while True:
        (length,) = struct.unpack(">I", await pipe.readexactly(4))
        if length > MAX_FRAME:
            raise msgspec.DecodeError(f"a frame of {length} bytes")
        frame = _decode_frame(await pipe.readexactly(length))
        if isinstance(frame, Entry):
            sections[frame.section][frame.name] = _DECODE_ENTRY[frame.section](frame.value)
            entries[frame.section][frame.name] = frame.lines
        elif isinstance(frame, Top):
            top = frame
        elif isinstance(frame, Issue):
            issues.append(frame.issue)
        elif isinstance(frame, Refused):
            raise ConfigError(frame.file, issues, frame.files)
        else:
            return Loaded(msgspec.structs.replace(top.config, **sections), Lines(top.lines, entries), top.files)
        if time.perf_counter() >= turn_ends:
            await asyncio.sleep(0)
            turn_ends = time.perf_counter() + TURN


def _revive(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError(kind)


def _entry_type(section: str) -> Any:
    """`Route` for "routes": the values of the section's dict."""
    (field,) = (field for field in msgspec.structs.fields(Config) if field.encode_name == section)
    return field.type.__args__[1]


_encode: Final = msgspec.msgpack.Encoder(enc_hook=str).encode  # only a Secret needs the hook
_decode_frame: Final = msgspec.msgpack.Decoder(Frame, dec_hook=_revive).decode
_DECODE_ENTRY: Final = {
    section: msgspec.msgpack.Decoder(_entry_type(section), dec_hook=_revive).decode for section in SECTIONS
}

if __name__ == "__main__":
    main(sys.argv[1:])
