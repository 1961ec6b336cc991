"""The command line as a person meets it: what each command says, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.backend import Backend
from tests.support.certificates import Authority
from tests.support.node import Node, free_port, running
from tests.support.rawclient import RawClient, soon

from gatepost import __version__
from gatepost.cli import main

COMMANDS = ("serve", "check", "certificates", "explain", "demo", "version", "import", "key", "store")


class Said(NamedTuple):
    code: int
    out: str
    err: str

    def one_line(self, code: int = 1) -> str:
        """The one line of an error: on standard error, with the program's name, and no traceback."""
        assert (self.code, self.out) == (code, ""), self
        [line] = self.err.splitlines()
        assert line.startswith("gatepost: ")
        return line


Run = Callable[..., Said]


@pytest.fixture
def gatepost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: each of its own would cost half a second."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> Said:
        monkeypatch.setattr(sys, "argv", ["gatepost", *map(str, arguments)])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return run


async def process(*arguments: str | Path, **environ: str) -> Said:
    """The command in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatepost"),
        *map(str, arguments),
        env={**os.environ, "NO_COLOR": "1", **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await soon(process.communicate(), "the end of the command", 30)
    assert b"Traceback" not in err, err.decode()
    assert process.returncode is not None
    return Said(process.returncode, out.decode("latin-1"), err.decode("latin-1"))


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


def write(folder: Path, text: str, name: str = "gatepost.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


SHOP = """\
services:
  orders: {targets: ["http://127.0.0.1:9000"]}
routes:
  order:
    match: {path: "/orders/{id}", methods: [GET]}
    service: orders
    policies: [{api_key: {}}, {rate_limit: {limit: 5, window: 1m}}]
    emit: [{app: shop, event_type: order.read}]
  version-2: {match: {path: /v, headers: {X-Version: "2"}}, service: orders}
  eu: {match: {path: /eu/*, hosts: ["*.example.com"]}, service: orders}
"""


# Help.


def test_alone_it_says_what_it_can_do(gatepost: Run) -> None:
    said = gatepost()
    assert (said.code, said.err) == (2, "")
    for command in COMMANDS:
        assert command in said.out
    assert gatepost("--help").out.split() == said.out.split()


@pytest.mark.parametrize("command", [*COMMANDS, "key new"])
def test_every_command_explains_itself(gatepost: Run, command: str) -> None:
    said = gatepost(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert f"Usage: gatepost {command}" in said.out


def test_version(gatepost: Run) -> None:
    assert gatepost("version").out.startswith(f"gatepost {__version__} on Python 3.")
    assert gatepost("version", "--short").out == f"{__version__}\n"
    assert gatepost("--version").out == gatepost("version").out


# Called wrongly.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "no such command 'nope'"),
        (["serve", "--nope"], "no such option: --nope"),
        (["explain", "GET"], "missing argument 'url'"),
        (["explain", "GET", "/", "-H", "nocolon"], "'nocolon' is no header; write -H 'Name: value'"),
    ],
)
def test_called_wrongly_it_is_one_line_and_exit_code_2(gatepost: Run, arguments: list[str], says: str) -> None:
    line = gatepost(*arguments).one_line(2)
    assert says in line
    assert "--help` says how it is called" in line


# Files that cannot be read.


@pytest.mark.parametrize(
    "command", [("check",), ("certificates",), ("serve", "-c"), ("explain", "GET", "/", "-c")], ids=lambda c: c[0]
)
def test_a_file_that_is_not_there(gatepost: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    line = gatepost(*command, "none.yaml", cwd=tmp_path).one_line()
    assert line == "gatepost: none.yaml: cannot be read: No such file or directory"
    assert "Is a directory" in gatepost(*command, tmp_path).one_line()


def test_a_file_that_may_not_be_read(gatepost: Run, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    file = write(tmp_path, SHOP)
    file.chmod(0)
    assert "Permission denied" in gatepost("check", file).one_line()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (b"routes:\n  a: [1\n  b", 3, "did not find expected"),
        (b"\xff\xfe\x00bad", 1, "not UTF-8"),
        (b"a: b: c\n", 1, "put a text that holds `: ` in quotes"),
        (b"store:\n\t- x", 2, "a tab cannot indent"),
        (b"- 1\n- 2\n", 1, "must be a mapping"),
        (b"store: sqlite:///x\nstore: sqlite:///y\n", 2, "stands there twice, first on line 1"),
        (b"limits:\n  header_count: no\n", 2, "header_count"),
        (b"a: &x [1]\nb: !!python/object:os.system {}\n", 2, "tag"),
    ],
)
def test_a_file_that_is_no_good_yaml(gatepost: Run, tmp_path: Path, text: bytes, line: int, says: str) -> None:
    file = tmp_path / "gatepost.yaml"
    file.write_bytes(text)
    said = gatepost("check", file)
    assert says in said.err, said.err
    assert f"line {line}: " in said.err or f"line {line + 1}: " in said.err, said.err
    assert said.code == 1
    assert gatepost("serve", "-c", file).err == said.err


# check


def test_a_good_file_is_told_in_one_line(gatepost: Run, tmp_path: Path) -> None:
    said = gatepost("check", write(tmp_path, SHOP))
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("good: 3 routes, 1 service, 0 consumers\n")


@pytest.mark.parametrize(
    "command", [("check",), ("certificates",), ("explain", "GET", "/orders/5")], ids=lambda c: c[0]
)
def test_the_file_of_the_folder_need_not_be_named(gatepost: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    write(tmp_path, SHOP)
    assert gatepost(*command, cwd=tmp_path).code == 0


def test_every_fault_is_told_at_once_in_the_order_of_the_file(gatepost: Run, tmp_path: Path) -> None:
    write(tmp_path, "no certificate", "bad.pem")
    text = """\
listen: {traffic: {address: "127.0.0.1:0", tls: {cert: bad.pem, key: bad.pem}}}
services:
  s: {targets: ["https://h"], tls: {ca: bad.pem}}
routes:
  a: {match: {path: /x}, service: s}
  b: {match: {path: /x}, service: s}
  c: {match: {path: /c}, service: s, emit: [{app: x, event_type: "${nope.x}", when: "foo + 1"}]}
"""
    said = gatepost("check", write(tmp_path, text), cwd=tmp_path)
    assert (said.code, said.out) == (1, "")
    lines = said.err.splitlines()
    expected = [
        (1, "listen.traffic.tls", "not a certificate and its key in PEM"),
        (3, "services.s.tls", "holds no certificates"),
        (6, "routes.b.match", "ties with 'a'"),
        (7, "routes.c.emit[0].when", "there is no `foo`"),
        (7, "routes.c.emit[0].event_type", "there is no `nope.x`"),
    ]
    assert len(lines) == len(expected), said.err
    for line, (number, path, reason) in zip(lines, expected, strict=True):
        assert line.startswith(f"{tmp_path}/gatepost.yaml: line {number}: {path}: "), line
        assert reason in line


def test_faults_of_every_kind_are_told_together(gatepost: Run, tmp_path: Path) -> None:
    """What cannot be read hides nothing of what can: an entry's wrong type, another's wrong expression."""
    text = """\
limits: {header_count: many}
services: {s: {targets: ["http://h"]}}
routes:
  a: {match: {path: /x}, service: s, tyop: 1}
  b.c: {match: {path: /b}, service: s, emit: [{app: x, event_type: a.b, when: "foo == 1"}]}
  d: {match: {path: /d}, service: s}
  e: {match: {path: /d}, service: s}
"""
    lines = gatepost("check", write(tmp_path, text)).err.splitlines()
    assert [line.partition("line ")[2].split(": ")[:2] for line in lines] == [
        ["1", "limits.header_count"],
        ["4", "routes.a.tyop"],
        ["5", "routes.b.c.emit[0].when"],
        ["7", "routes.e.match"],
    ]


def test_a_fault_of_a_policy_names_its_setting(gatepost: Run, tmp_path: Path) -> None:
    limit = "rate_limit: {limit: 1, window: 1m, by: requst.path}"
    route = f"{{match: {{path: /x}}, service: s, policies: [{limit}]}}"
    text = f'services: {{s: {{targets: ["http://h"]}}}}\nroutes:\n  a: {route}\n'
    line = gatepost("check", write(tmp_path, text)).one_line()
    assert "line 3: routes.a.policies[0].rate_limit.by: at character 7: there is no `requst.path`" in line


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('event_types: ["order.*", "order created"]', "event_types[1]: must be "),
        ('channels: ["/orders/*"]', "channels[0]: must be "),
        ('secret: "hunter2"', "secret: "),
    ],
)
def test_an_endpoint_that_could_never_work_is_a_fault(gatepost: Run, tmp_path: Path, setting: str, says: str) -> None:
    endpoint = f'{{url: "https://p.example/h", uid: p, {setting}}}'
    line = gatepost("check", write(tmp_path, f"apps:\n  a: {{endpoints: [{endpoint}]}}\n")).one_line()
    assert f"line 2: apps.a.endpoints[0].{says}" in line
    assert "hunter2" not in line


def test_a_key_that_does_not_belong_to_its_certificate_is_found(gatepost: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("a.example")[0], authority.issue("b.example")[1]
    text = f'listen: {{traffic: {{address: "127.0.0.1:0", tls: {{cert: {cert}, key: {key}}}}}}}'
    assert "does not belong to the certificate" in gatepost("check", write(tmp_path, text)).one_line()


# explain


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["GET", "/orders/5"],
            0,
            ["takes it", "route:       order", "id=5", "api_key, rate_limit", "order.read", "9000"],
        ),
        (["head", "http://any.example/orders/5"], 0, ["HEAD any.example/orders/5", "route:       order"]),
        (["POST", "/orders/5"], 1, ["POST is not one of its methods GET", "405: ", "allowed: GET, HEAD"]),
        (["GET", "/nope"], 1, ["404: no route matches this host and path"]),
        (["GET", "/v"], 1, ["the header 'x-version' is not '2'", "404"]),
        (["GET", "/v", "-H", "X-Version: 2"], 0, ["route:       version-2", "policies:    none"]),
        (["GET", "http://a.example.com/eu/x"], 0, ["*.example.com/eu/*", "route:       eu"]),
        (["GET", "http://example.com/eu/x"], 1, ["the host is not *.example.com", "404"]),
        (["GET", "/a/../../x"], 1, ["400: its path climbs above the root"]),
        (["GET", "/.well-known/mercure?topic=/a/b"], 0, ["answered by: the live streams"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_explain_says_which_route_or_why_none(
    gatepost: Run, tmp_path: Path, arguments: list[str], code: int, says: list[str]
) -> None:
    said = gatepost("explain", *arguments, "-c", write(tmp_path, SHOP))
    assert (said.code, said.err) == (code, "")
    for words in says:
        assert words in said.out, said.out


def test_explain_has_policies_in_the_order_that_a_request_meets(gatepost: Run, tmp_path: Path) -> None:
    text = """\
services: {a: {targets: ["http://h"]}, b: {targets: ["http://i"]}}
routes:
  r:
    match: {path: /x}
    service: a
    policies:
      - cache: {}
      - version: {header: X-V, versions: {v1: {}, v2: {service: b}}}
      - rate_limit: {limit: 1, window: 1m}
      - api_key: {}
      - cors: {origins: ["https://shop.example"]}
"""
    said = gatepost("explain", "GET", "/x", "-c", write(tmp_path, text))
    assert "policies:    cors, api_key, rate_limit, version, cache\n" in said.out
    assert "b for version v2\n" in said.out


async def test_what_a_terminal_cannot_show_is_no_error(tmp_path: Path) -> None:
    file = write(tmp_path, SHOP)
    said = await process("explain", "GET", "/orders/5", "-c", file, PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert said.code == 0


async def test_an_output_that_takes_nothing_is_one_line(tmp_path: Path) -> None:
    file = write(tmp_path, SHOP)
    with open("/dev/full", "wb") as full:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gatepost", "check", str(file)), stdout=full, stderr=asyncio.subprocess.PIPE
        )
        _, err = await soon(process.communicate(), "the end of the command", 30)
    assert (process.returncode, err) == (1, b"gatepost: No space left on device\n")


# store


def test_a_store_that_is_not_there_is_not_made_by_looking(gatepost: Run, tmp_path: Path) -> None:
    assert (
        gatepost("store", "check", "sqlite:///none.db", cwd=tmp_path).one_line() == "gatepost: none.db does not exist"
    )
    assert not list(tmp_path.iterdir())


# key new


async def test_a_new_key_opens_the_route_and_its_hash_is_all_that_the_file_holds(
    gatepost: Run, tmp_path: Path, backend: Backend
) -> None:
    words = gatepost("key", "new").out.split()
    key, digest = words[1], words[3]
    assert (words[0], words[2]) == ("key", "sha256")
    assert sha256(key.encode()).hexdigest() == digest
    route = {"match": {"path": "/*"}, "service": "main", "policies": [{"api_key": {}}]}
    settings = {
        "services": {"main": {"targets": [backend.url]}},
        "routes": {"open": route, "closed": {**route, "match": {"path": "/closed"}}},
        "consumers": {"web-shop": {"keys": [{"sha256": digest}], "routes": ["open"]}},
    }
    async with running(tmp_path, settings) as node, await RawClient.connect(node.traffic) as client:
        for path, field, status in (
            (b"/", b"", 401),
            (b"/", b"X-Api-Key: wrong\r\n", 401),
            (b"/", b"X-Api-Key: %b\r\n" % key.encode(), 200),
            (b"/closed", b"X-Api-Key: %b\r\n" % key.encode(), 403),
        ):
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, field))
            assert (await client.response()).status == status
    assert len(backend.requests) == 1


# serve


def minimal(**more: str) -> str:
    settings = {
        "listen": f'{{traffic: "127.0.0.1:{free_port()}", control: "127.0.0.1:{free_port()}"}}',
        "access_log": '{output: "off"}',
        **more,
    }
    return "".join(f"{name}: {value}\n" for name, value in settings.items())


async def test_a_folder_that_is_not_there_or_not_ours_is_one_line(tmp_path: Path) -> None:
    line = (await process("serve", "-c", write(tmp_path, minimal(store="sqlite:///none/x.db")))).one_line()
    assert "none" in line
    write(tmp_path, "a file, no folder", "file")
    line = (await process("serve", "-c", write(tmp_path, minimal(store="sqlite:///file/x.db")))).one_line()
    assert "file" in line


async def test_a_store_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, "this is no database, " * 100, "x.db")
    said = await process("serve", "-c", write(tmp_path, minimal(store="sqlite:///x.db")))
    assert "x.db" in said.one_line()


async def test_an_address_of_another_machine_is_one_line(tmp_path: Path) -> None:
    listen = f'{{traffic: "192.0.2.1:{free_port()}", control: "127.0.0.1:{free_port()}"}}'
    line = (await process("serve", "-c", write(tmp_path, minimal(listen=listen)))).one_line()
    assert "this machine does not have the address" in line


async def test_a_store_counts_from_the_folder_of_the_file_and_the_token_is_its_owners(tmp_path: Path) -> None:
    async with running(tmp_path / "node", {"store": "sqlite:///data.db"}) as node:
        assert (node.directory / "data.db").exists()
        assert node.token_file.stat().st_mode & 0o777 == 0o600
        before = node.token
        node.signal(signal.SIGTERM)
        assert await node.exit_code() == 0
        await node.start()
        assert node.token == before


async def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "admin.token"
    token.write_text("a" * 40)
    token.chmod(0o644)
    line = (await process("serve", "-c", write(tmp_path, minimal()))).one_line()
    assert "admin.token" in line
    assert "chmod" in line


async def begun(node: Node) -> None:
    """Wait until it starts: the store is the first thing that it makes."""

    async def made() -> None:
        while not (node.directory / "gatepost.db").exists():
            await asyncio.sleep(0.001)

    await soon(made(), "the store", 30)


async def test_ctrl_c_before_it_is_ready_stops_it_in_order(tmp_path: Path) -> None:
    node = Node(tmp_path, {})
    await node.launch()
    await begun(node)
    node.signal(signal.SIGINT)
    assert await node.exit_code() == 0
    assert not node.tracebacks, node.errors


async def test_a_reload_before_it_is_ready_is_made_once_it_is(tmp_path: Path) -> None:
    node = Node(tmp_path, {})
    await node.launch()
    try:
        await begun(node)
        node.signal(signal.SIGHUP)
        await node.event("config_reloaded", within=30)
        assert [line["event"] for line in node.errors if isinstance(line, dict)] == ["ready", "config_reloaded"]
    finally:
        node.kill()
        await node.exit_code()


async def test_an_output_that_nobody_reads_holds_up_neither_requests_nor_the_stop(
    tmp_path: Path, backend: Backend
) -> None:
    node = Node(tmp_path, {})
    node.write(
        {
            "access_log": {"output": "stdout"},
            "services": {"main": {"targets": [backend.url]}},
            "routes": {"main": {"match": {"path": "/*"}, "service": "main"}},
        }
    )
    reading, writing = os.pipe()  # 64 KiB
    node.process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatepost", "serve", "-c", str(node.file)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=writing,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        await soon(node._until_ready(), "readiness", 30)
        async with await RawClient.connect(node.traffic) as client:
            for _ in range(100):
                client.send(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 4000))
                assert (await client.response()).status == 200
        node.signal(signal.SIGTERM)
        assert await node.exit_code(within=10) == 0
    finally:
        if node.process.returncode is None:
            node.kill()
        os.close(reading)
