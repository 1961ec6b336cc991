"""gunicorn's own request files, sent through the gateway: an opinion about HTTP that is not ours.

An invalid file must be refused and reach nobody; the requests of a valid one must arrive as gunicorn reads them.
Every deviation stands here with its reason, and a deviation that is none any more fails its test.
"""

from __future__ import annotations

import contextlib
import re

import pytest
from tests.support import gunicorn_corpus as corpus
from tests.support.backend import Exchange
from tests.support.rawclient import ClosedEarly, Hang
from tests.support.strict_http import Message
from tests.support.wire import Gate

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(not corpus.CORPUS.is_dir(), reason=corpus.MISSING),
]

LOWER_LIMIT = "the file sets a limit of gunicorn lower than its default, and than ours"
SMALLER = "beyond gunicorn's limit of 8190 bytes, within ours"

# Invalid to gunicorn, served by the gateway.
ACCEPTED = {
    "006": "a target beyond gunicorn's limit of 4094 bytes, within ours (8 KiB)",
    "007": f"{SMALLER} (64 KiB of header)",
    "008": f"{SMALLER} (64 KiB of header)",
    "010": LOWER_LIMIT,
    "011": LOWER_LIMIT,
    "012": LOWER_LIMIT,
    "017": f"{SMALLER} (64 KiB of header)",
    "019": "X-Forwarded-Proto against X-Forwarded-Ssl: nobody is trusted, so what the client says of both is dropped",
    "040": "gunicorn is set to refuse names with `_`; we drop these fields, and the body is framed by Content-Length",
    "041": "Content-Type twice frames nothing and routes nothing: the service's to refuse",
    "chunked_07": "Transfer_Encoding is dropped (a name with `_`), Transfer-Encoding: chunked frames the body",
    "limit_header_default_01": f"{SMALLER} (64 KiB of header)",
}

# Valid to gunicorn, refused by the gateway: file → (status, reason).
REFUSED = {
    "005": (400, "a fragment never belongs into a request (RFC 9112 §3.2); upstreams read `#` in two ways"),
    "013": (400, "blanks in chunk extensions: llhttp refuses them, and what llhttp refuses stays refused"),
    "025": (501, "two transfer codings: only `chunked` alone is taken"),
    "025_line": (501, "two transfer codings: only `chunked` alone is taken"),
    "028": (400, "a space before the colon: gunicorn is set to strip it"),
    "029": (501, "two transfer codings: only `chunked` alone is taken"),
    "030": (501, "two transfer codings: only `chunked` alone is taken"),
    "031": (400, "a method that llhttp does not know"),
    "031compat": (400, "a method that llhttp does not know"),
    "031compat2": (400, "a method that llhttp does not know"),
    "099": (400, "its Content-Length (17914) is longer than what follows (8599 bytes): never whole"),
    "compat_obs_fold": (400, "obs-fold: gunicorn is set to permit it"),
    "compat_obs_fold_huge": (400, "obs-fold: gunicorn is set to permit it"),
    "pp_01": (400, "PROXY protocol, which this listener does not expect"),
    "pp_02": (400, "PROXY protocol, which this listener does not expect"),
    "pp_04": (400, "PROXY protocol, which this listener does not expect"),
    "pp_05": (400, "PROXY protocol, which this listener does not expect"),
    "rfc9112_smuggle_gzip_chunked_01": (501, "two transfer codings: only `chunked` alone is taken"),
    "rfc9112_smuggle_te_identity_chunked_01": (501, "two transfer codings: only `chunked` alone is taken"),
    "rfc9112_target_absolute_userinfo_01": (400, "userinfo in a target is refused (RFC 9110 §4.2.4)"),
    "rfc9112_target_authority_connect_01": (400, "CONNECT: this is no forward proxy"),
    "rfc9112_target_authority_ipv6_01": (400, "CONNECT: this is no forward proxy"),
}

# Valid to both, with another target at the backend.
NORMALISED = {
    "100": (b"/keeping_slashes", "empty segments of a path are merged: one path, one policy (http1/targets.py)"),
    "rfc9112_target_absolute_01": (b"/foo?q=1", "the absolute form is for proxies: the origin form goes on"),
    "rfc9112_target_absolute_https_01": (b"/foo", "the absolute form is for proxies: the origin form goes on"),
    "rfc9112_target_absolute_ipv6_01": (b"/foo", "the absolute form is for proxies: the origin form goes on"),
    "rfc9112_target_asterisk_options_01": (
        b"",
        "the gateway answers `OPTIONS *` itself: it names a server, not a service",
    ),
}

# The trailer section of these holds fields that may not stand there.
TRAILERS = {
    "012": "a trailer Content-Type is refused (RFC 9110 §6.5.1: a trailer must not change how the body is read)",
}


def with_host(wire: bytes) -> bytes:
    """Most files leave out Host, which HTTP/1.1 requires (RFC 9112 §3.2): with it they show what they are about.

    Where a file has none, and begins with HTTP/1.1, every request line of that version gets one.
    """
    if re.search(rb"(?i)\r\nhost:", wire):
        return wire
    first, _, rest = wire.partition(b"\r\n")
    if not first.endswith((b"HTTP/1.1", *_PROXY_LINES)):
        if b"Connection: Keep-Alive" not in wire:
            return wire
        return first + b"\r\n" + re.sub(rb"( HTTP/1\.1\r\n)", rb"\1Host: a\r\n", rest)
    return re.sub(rb"( HTTP/1\.1\r\n)", rb"\1Host: a\r\n", wire)


_PROXY_LINES = (b"443", b"100000")


async def outcome(gate: Gate, wire: bytes) -> tuple[list[Message], list[Exchange]]:
    """What comes back until the connection ends or nothing more is to come, and what the backend saw whole."""
    client = await gate.say(wire)
    answers: list[Message] = []
    try:
        answers.append(await client.response(within=0.3))
    except Hang:
        pass  # it waits for more: an unfinished message
    except ClosedEarly:
        return answers, [x for x in await gate.reached() if x.message.complete]
    client.half_close()
    with contextlib.suppress(ClosedEarly):
        while True:
            answers.append(await client.response())
    reached = await gate.reached()
    return answers, [x for x in reached if x.message.complete]


@pytest.mark.parametrize("name", corpus.names("invalid"))
@pytest.mark.parametrize("host", ["as it is", "with a host"])
async def test_an_invalid_request_is_refused(gate: Gate, name: str, host: str) -> None:
    wire = corpus.wire("invalid", name)
    if host == "with a host":
        if with_host(wire) == wire:
            return  # it has one
        wire = with_host(wire)
    answers, reached = await outcome(gate, wire)
    served = [answer.status for answer in answers if answer.status < 400]
    if name in ACCEPTED and (host == "with a host" or with_host(wire) == wire):
        assert served, f"no deviation any more: {ACCEPTED[name]}"
        return
    assert not served
    assert not reached, reached
    assert len(answers) <= 1, answers
    assert all(400 <= answer.status < 600 for answer in answers)


@pytest.mark.parametrize("name", corpus.names("valid"))
async def test_a_valid_request_arrives(gate: Gate, name: str) -> None:
    answers, reached = await outcome(gate, with_host(corpus.wire("valid", name)))
    if name in REFUSED or name in TRAILERS:
        status, reason = REFUSED.get(name) or (400, TRAILERS[name])
        assert ([answer.status for answer in answers], reached) == ([status], []), reason
        return
    expected = corpus.expected(name)
    if name in NORMALISED:
        target, _ = NORMALISED[name]
        expected = [e._replace(target=target) for e in expected if target]
        assert len(answers) == 1
    else:
        assert [answer.status for answer in answers] == [200] * len(expected)
    assert [corpus.Expected(x.method, x.target, bytes(x.message.body)) for x in reached] == expected


async def test_every_deviation_names_a_file() -> None:
    assert set(ACCEPTED) <= set(corpus.names("invalid"))
    assert set(REFUSED) | set(NORMALISED) | set(TRAILERS) <= set(corpus.names("valid"))
    assert (len(corpus.names("invalid")), len(corpus.names("valid"))) == (81, 62)
