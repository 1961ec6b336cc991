import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.net.url import Url, parse_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://example.com", Url("http", "example.com", 80, b"/", False, b"example.com")),
        ("https://example.com/", Url("https", "example.com", 443, b"/", True, b"example.com")),
        ("HTTPS://Example.COM:443/A?b=C", Url("https", "example.com", 443, b"/A?b=C", True, b"example.com")),
        ("http://example.com:8080/a", Url("http", "example.com", 8080, b"/a", False, b"example.com:8080")),
        ("http://example.com?q", Url("http", "example.com", 80, b"/?q", False, b"example.com")),
        ("http://example.com/a#secret", Url("http", "example.com", 80, b"/a", False, b"example.com")),
        ("http://example.com#@evil.example/", Url("http", "example.com", 80, b"/", False, b"example.com")),
        ("http://example.com/@evil.example", Url("http", "example.com", 80, b"/@evil.example", False, b"example.com")),
        ("http://example.com./", Url("http", "example.com", 80, b"/", False, b"example.com")),
        ("http://orders_1:9000/", Url("http", "orders_1", 9000, b"/", False, b"orders_1:9000")),
        (
            "http://xn--bcher-kva.example/",
            Url("http", "xn--bcher-kva.example", 80, b"/", False, b"xn--bcher-kva.example"),
        ),
        ("http://127.0.0.1:1/", Url("http", "127.0.0.1", 1, b"/", False, b"127.0.0.1:1")),
        ("http://127.0.0.1./", Url("http", "127.0.0.1", 80, b"/", False, b"127.0.0.1")),
        ("https://[2001:DB8:0:0::1]/", Url("https", "2001:db8::1", 443, b"/", True, b"[2001:db8::1]")),
        ("http://[::ffff:127.0.0.1]:65535", Url("http", "127.0.0.1", 65535, b"/", False, b"127.0.0.1:65535")),
        ("http://1.2.3.example/", Url("http", "1.2.3.example", 80, b"/", False, b"1.2.3.example")),
    ],
)
def test_a_url_has_one_reading(text: str, expected: Url) -> None:
    assert parse_url(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "http:// or https://"),
        ("example.com", "http:// or https://"),
        ("//example.com/", "http:// or https://"),
        ("ftp://example.com/", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("http:/example.com", "http:// or https://"),
        ("http:example.com", "http:// or https://"),
        ("unix:/run/x.sock", "http:// or https://"),
        (" http://example.com/", "space or control"),
        ("http://example.com/ x", "space or control"),
        ("http://exa\tmple.com/", "space or control"),
        ("http://example.com/\r\nX: y", "space or control"),
        ("http://example.com/\n", "space or control"),
        ("http://example.com\x00.evil.example/", "space or control"),
        ("http://example.com\\@evil.example/", "backslash"),
        ("http:\\\\example.com/", "backslash"),
        ("http://user@example.com/", "user name"),
        ("http://user:secret@example.com/", "user name"),
        ("http://@example.com/", "user name"),
        ("http://a@b@example.com/", "user name"),
        ("http://b\xfccher.example/", "xn--"),
        ("http://example.com/\xe9", "percent-encode"),
        ("http://127.0.0\u30020.1/", "ASCII"),
        ("http://\u2460.example/", "ASCII"),
        ("http:///path", "no host"),
        ("http://:80/", "no host"),
        ("http://./", "no host"),
        ("http://exam%70le.com/", "escape"),
        ("http://127.0.0.1%2f@x/", "user name"),
        ("http://a..b/", "is not a name"),
        ("http://example.com../", "is not a name"),
        ("http://-a.example/", "is not a name"),
        ("http://a-.example/", "is not a name"),
        ("http://" + "a" * 64 + ".example/", "is not a name"),
        ("http://" + "a." * 130 + "example/", "is not a name"),
        ("http://ex!ample.com/", "is not a name"),
        ("http://127.0.0.1:80:90/", "port"),
        ("http://example.com:/", "port"),
        ("http://example.com:0/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://example.com:-1/", "port"),
        ("http://example.com:8a/", "port"),
        ("http://example.com:+80/", "port"),
        ("http://::1/", "no host"),
        ("http://[::1/", "brackets"),
        ("http://[::1]x/", "brackets"),
        ("http://[::1]:x/", "port"),
        ("http://[fe80::1%25eth0]/", "not an IPv6"),
        ("http://[fe80::1%eth0]/", "not an IPv6"),
        ("http://[127.0.0.1]/", "not an IPv6"),
        ("http://[v1.x]/", "not an IPv6"),
        ("http://example.com/" + "a" * 2048, "longer"),
    ],
)
def test_what_has_another_reading_is_refused_with_advice(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_url(text)


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.01"),
        *("0x7f.0x0.0x0.0x1", "127.0.0.0x1", "1.2.3.4.5", "256.0.0.1", "127.0.0.1.1", "0", "00.0.0.0", "1.1.1.0x"),
        *("example.123", "example.0x7f", "0X7F.1", "127.1.", "2130706433."),
    ],
)
def test_an_address_in_disguise_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="four decimal numbers"):
        parse_url(f"http://{host}/")


HOSTS = st.text(alphabet="abz019.-_x%:[]@\\/?#\u3002 ", max_size=20)


@given(HOSTS, st.text(max_size=10))
def test_what_is_accepted_reads_the_same_when_it_is_written_again(host: str, tail: str) -> None:
    try:
        url = parse_url(f"http://{host}/{tail}")
    except ValueError:
        return
    assert parse_url(f"{url.scheme}://{url.host_header.decode()}{url.target.decode()}") == url
    assert 1 <= url.port <= 65535
    assert url.host == url.host.lower().strip("[].")
    assert not set(b" \r\n\\#") & set(url.target + url.host_header)
