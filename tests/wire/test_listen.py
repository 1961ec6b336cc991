import socket
from pathlib import Path

import pytest

from gatepost.net.listen import ListenError, listen, parse_address


def test_an_address_is_host_and_port_or_a_path() -> None:
    assert parse_address("0.0.0.0:8080") == ("0.0.0.0", 8080)
    assert parse_address("localhost:0") == ("localhost", 0)
    assert parse_address("[::1]:80") == ("::1", 80)
    assert parse_address("unix:/run/x.sock") == ("/run/x.sock", -1)


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "a:", "a:b", "a:65536", "a:-1", "::1:80", "[::1]", "a:８０", "unix:"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets|lacks a path"):
        parse_address(text)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_a_listener_takes_connections_and_does_not_block(address: str) -> None:
    with listen(address) as server:
        assert not server.getblocking()
        with socket.create_connection(server.getsockname()[:2], timeout=2):
            pass


def test_the_ipv6_wildcard_takes_ipv4_as_well() -> None:
    with listen("[::]:0") as server, socket.create_connection(("127.0.0.1", server.getsockname()[1]), timeout=2):
        pass


def test_an_address_in_use_is_one_line_that_says_what_to_do() -> None:
    with listen("127.0.0.1:0") as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ListenError) as caught:
            listen(address)
    assert str(caught.value) == (
        f"cannot listen on {address}: the address is in use; stop the other process or choose another address"
    )
    listen(address).close()  # free again at once


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:80: this machine does not have the address"):
        listen("192.0.2.1:80")
    with pytest.raises(ListenError, match=r"cannot listen on no-such-name\.invalid:80: "):
        listen("no-such-name.invalid:80")
    with pytest.raises(ListenError, match="not the name of a host"):
        listen("a..b:80")


def test_an_abandoned_unix_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    with listen(address), pytest.raises(ListenError, match="is in use"):
        listen(address)
    with listen(address) as server, socket.socket(socket.AF_UNIX) as client:
        assert not server.getblocking()
        client.connect(f"{tmp_path}/s")


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("data")
    with pytest.raises(ListenError, match="is in use"):
        listen(f"unix:{file}")
    assert file.read_text() == "data"
    with pytest.raises(ListenError, match="no such file"):
        listen(f"unix:{tmp_path}/none/s")
