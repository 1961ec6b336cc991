"""Loading in a child process gives what loading here gives, and holds nobody up."""

from __future__ import annotations

import asyncio
import io
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gatepost.config import child
from gatepost.config.child import load_in_child
from gatepost.config.loading import load
from gatepost.config.secrets import Secret
from gatepost.errors import ConfigError, ConfigIssue

FILE = """\
listen: {traffic: "127.0.0.1:9999"}
services:
  orders: {targets: ["http://127.0.0.1:9000"], timeouts: {connect: 500ms}}
routes:
  create.order:
    match: {path: "/orders/{id}", headers: {x-a: b}}
    service: orders
    policies: [{api_key: {}}, {rate_limit: {limit: 5, window: 1m}}]
    emit: [{app: shop, event_type: order.created}]
consumers:
  shop: {keys: [{sha256: "env:KEY"}], metadata: {tier: gold}}
apps:
  billing: {endpoints: [{url: "https://example.com/hook", uid: a, secret: "file:hook"}]}
live: {jwt_secret: "env:JWT", public: [/shop/*]}
"""


def write(folder: Path, text: str = FILE) -> Path:
    (folder / "hook").write_text("whsec_x")
    path = folder / "gatepost.yaml"
    path.write_text(text)
    return path


async def received(*frames: child.Frame, cut: int = 0) -> object:
    """What the parent makes of these frames; `cut` bytes of the last are lost."""
    out = io.BytesIO()
    child.send(out, iter(frames))
    return await fed(out.getvalue()[: -cut or None])


async def fed(data: bytes) -> object:
    pipe = asyncio.StreamReader()
    pipe.feed_data(data)
    pipe.feed_eof()
    return await child._receive(pipe)


async def test_the_child_reads_what_we_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "ab" * 32)
    monkeypatch.setenv("JWT", "s3cret")
    path = write(tmp_path)
    there, here = await load_in_child(path), load(path)
    assert there.config == here.config
    for place in (
        "listen.traffic",
        "routes.create.order.policies[1].rate_limit.by",
        "apps.billing.endpoints[0].url",
        "live",
    ):
        assert there.lines.of(place) == here.lines.of(place) > 0
    secret = there.config.apps["billing"].endpoints[0].secret
    assert type(secret) is Secret
    assert secret == "whsec_x"
    assert "s3cret" not in repr(there.config)


async def test_every_fault_comes_over(tmp_path: Path) -> None:
    path = write(
        tmp_path, "listen: {traffic: ':80'}\nroutes:\n  é: {}\n" + FILE.partition("\n")[2].partition("routes")[0]
    )
    with pytest.raises(ConfigError) as here:
        load(path)
    with pytest.raises(ConfigError) as there:
        await load_in_child(path)
    assert len(here.value.issues) > 2
    assert there.value.issues == here.value.issues
    assert type(there.value.issues[0]) is ConfigIssue
    assert str(there.value) == str(here.value)


async def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        await load_in_child(tmp_path / "none.yaml")


async def test_a_child_that_dies_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child.sys, "executable", "/bin/false")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"ended too soon \(exit code 1, IncompleteReadError\)"):
        await load_in_child(write(tmp_path))


async def test_a_folder_cannot_shadow_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yaml.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert (await load_in_child(write(tmp_path, "live: {enabled: false}"))).config.live.enabled is False


async def test_cancelled_it_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec cat /dev/zero >/dev/null\n")
    program.chmod(0o755)
    monkeypatch.setattr(child.sys, "executable", str(program))  # type: ignore[attr-defined]
    children: list[subprocess.Popen[bytes]] = []
    create = subprocess.Popen
    started = asyncio.Event()

    def recording(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        children.append(create(*args, **kwargs))
        started.set()
        return children[0]

    monkeypatch.setattr(subprocess, "Popen", recording)
    task = asyncio.create_task(load_in_child(tmp_path / "gatepost.yaml"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children[0].returncode == -9


# frames


@pytest.mark.parametrize("cut", [1, 3, 5])
async def test_frames_that_are_cut_are_no_configuration(cut: int) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await received(child.Top(child.Config(), 0), child.End(), cut=cut)


async def test_a_frame_that_claims_too_much_is_refused() -> None:
    with pytest.raises(child.msgspec.DecodeError, match="a frame of 4294967295 bytes"):
        await fed(struct.pack(">I", 0xFFFFFFFF))


async def test_decoding_lets_the_loop_turn(tmp_path: Path) -> None:
    """With everything in the buffer already nothing else would make it give way."""
    text = "services: {s: {targets: ['http://h']}}\nroutes:\n" + "".join(
        f"  r{i}: {{match: {{path: /{i}}}, service: s, policies: [{{api_key: {{}}}}]}}\n" for i in range(1_500)
    )
    out = io.BytesIO()
    child.send(out, child._frames(load(write(tmp_path, text))))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await fed(out.getvalue())
    counter.cancel()
    assert turns > 10  # about 15 ms of decoding in turns of half a millisecond
