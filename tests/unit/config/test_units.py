"""What one text must look like."""

from __future__ import annotations

import pytest

from gatepost.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("0", 0), ("0s", 0), ("1.5s", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "05s", "-5s", "1e3s", "5S", "5min", "1:30", "٥s", "5s\n", "3651d"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        units.duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("64KiB", 65_536), ("1MiB", 1_048_576), ("2GiB", 2**31), ("7B", 7)]
)
def test_sizes(text: str, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize("text", ["", "64KB", "64kib", "0x10", "010", "1.5MiB", "-1", "1_0", "9" * 30, "9" * 6000])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        units.size(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9000",
        "https://example.com",
        "http://h/base/x",
        "http://[::1]:80/",
        "unix:/run/a.sock",
        "http://a_b",
    ],
)
def test_targets(text: str) -> None:
    assert units.target(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h:80",
        "ftp://h",
        "HTTP://h",
        "http://",
        "http:///x",
        "http://u@h",
        "http://u:p@h",
        "http://h\\@evil",
        "http://h:0",
        "http://h:65536",
        "http://h:",
        "http://h?x",
        "http://h/#x",
        "http://a b",
        "http://h/a b",
        "http://[::1",
        "http://[::g]",
        "http://::1",
        "http://127.1",
        "http://0x7f.0.0.1",
        "http://2130706433",
        "http://010.0.0.1",
        "http://h..x",
        "http://h\n",
        "http://é",
        "unix:run/a.sock",
        "unix:",
        "unix:/",
        "unix:/a\0b",
        "unix:/" + "a" * 110,
    ],
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(ValueError):
        units.target(text)


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "localhost:0", "[::]:443", "unix:/run/g.sock"])
def test_addresses(text: str) -> None:
    assert units.address(text) == text


@pytest.mark.parametrize(
    "text", ["8080", ":8080", "h", "h:", "::1:80", "[::1]", "h:x", "h:65536", "h:-1", "h:٣", "1.2.3:80"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        units.address(text)


@pytest.mark.parametrize("text", ["/", "/orders", "/orders/{id}", "/a/{x}/b/{y}", "/files/*", "/*", "/é", "/a/"])
def test_path_patterns(text: str) -> None:
    assert units.path_pattern(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "/a?b",
        "/a#b",
        "/a b",
        "/*/a",
        "/a*",
        "/{a}b",
        "/{}",
        "/{a",
        "/{a}/{a}",
        "/../a",
        "/a/.",
        "/a//b",
        "/a\\b",
        "/orders/:id",
    ],
)
def test_what_is_no_path_pattern(text: str) -> None:
    with pytest.raises(ValueError):
        units.path_pattern(text)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "::1", "fd00::/8", "192.0.2.1"])
def test_networks(text: str) -> None:
    assert units.network(text) == text


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10/8", "h", "fe80::1%eth0/64x"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError):
        units.network(text)


@pytest.mark.parametrize("text", ["example.com", "*.example.com", "127.0.0.1", "[::1]"])
def test_host_patterns(text: str) -> None:
    assert units.host_pattern(text) == text


@pytest.mark.parametrize("text", ["", "*", "a.*", "h:80", "*.*.x", "http://h", "a b"])
def test_what_is_no_host_pattern(text: str) -> None:
    with pytest.raises(ValueError):
        units.host_pattern(text)


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0b", " a", "a ", "é", "\x7f"])
def test_what_is_no_header_value(value: str) -> None:
    with pytest.raises(ValueError):
        units.header_value(value)


@pytest.mark.parametrize("text", ["get", "G T", ""])
def test_what_is_no_method(text: str) -> None:
    with pytest.raises(ValueError):
        units.method(text)


@pytest.mark.parametrize("text", ["http://h/hook?token=a&b=c", "https://example.com"])
def test_endpoint_urls(text: str) -> None:
    assert units.endpoint_url(text) == text


@pytest.mark.parametrize("text", ["http://h/#a", "http://h/?a b", "h", "http://u@h/"])
def test_what_is_no_endpoint_url(text: str) -> None:
    with pytest.raises(ValueError):
        units.endpoint_url(text)
