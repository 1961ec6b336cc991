from __future__ import annotations

import re

from gatepost.server.gate import Identities

TRACEPARENT = re.compile(rb"traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01\r\n")  # W3C trace context §3.2


def ids(identities: Identities, count: int) -> list[tuple[bytes, bytes, bytes]]:
    out = []
    for _ in range(count):
        request_id, line = identities.next()
        match = TRACEPARENT.fullmatch(line)
        assert match is not None, line
        out.append((request_id, match[1], match[2]))
    return out


def test_every_request_has_an_id_a_trace_and_a_span_of_its_own() -> None:
    seen = ids(Identities(), 1_000) + ids(Identities(), 1_000)  # two nodes
    for kind in zip(*seen, strict=True):
        assert len(set(kind)) == 2_000


def test_ids_keep_their_shape_beyond_four_billion_requests() -> None:
    identities = Identities()
    identities._count = (1 << 32) - 300
    assert len(set(ids(identities, 600))) == 600
