"""A connection that ended before anybody used it is a failure to connect, not an exchange that waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.fake_transport import FakeTransport

from gatepost.config.services import Service, ServiceTarget
from gatepost.errors import UpstreamError
from gatepost.net.deadlines import Deadlines
from gatepost.upstream import connect as module
from gatepost.upstream.targets import Upstream


async def test_a_target_that_accepts_and_closes_at_once_was_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dial(protocol: Callable[[], Any], *_: Any, **__: Any) -> tuple[Any, Any]:
        connection = protocol()
        transport = FakeTransport(connection)
        transport.end()
        return transport, connection

    monkeypatch.setattr(module, "dial", dial)  # the race itself is the kernel's to win
    nothing: Any = None
    deadlines = Deadlines(asyncio.get_running_loop())
    service = Service(targets=(ServiceTarget(url="http://192.0.2.1"),))
    upstream = Upstream("orders", service, nothing, deadlines, None)
    with pytest.raises(UpstreamError, match="closed the connection at once"):
        await module.connect(upstream, upstream.targets[0], 1.0)
    assert upstream.targets[0].busy == 0
    deadlines.close()
