"""An OpenTelemetry collector in the test's process: it takes OTLP over HTTP as protobuf and keeps what it got.

collector.hang()    from now on it reads and never answers
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.support.rawclient import soon


class Collector:
    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}  # the last of each name
        self.headers: list[dict[str, str]] = []
        self.requests = 0
        self.status = 200
        self._hanging = False
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang(self) -> None:
        self._hanging = True

    async def until(self, true: Callable[[], bool], what: str) -> None:
        async with self._changed:
            await soon(self._changed.wait_for(true), what, 20)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode().split("\r\n")[:-2]
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                if headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                await self._take(request.split(" ")[1], headers, body)
                if self._hanging:
                    await asyncio.Event().wait()
                writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % self.status)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass  # it left
        finally:
            writer.close()

    async def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.requests += 1
        self.headers.append(headers)
        if self.status == 200 and not self._hanging:
            if path == "/v1/traces":
                for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self.resources.append(attributes(each.resource))
                    self.spans += [span for scope in each.scope_spans for span in scope.spans]
            else:
                assert path == "/v1/metrics", path
                for one in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    self.resources.append(attributes(one.resource))
                    self.metrics |= {metric.name: metric for scope in one.scope_metrics for metric in scope.metrics}
        async with self._changed:
            self._changed.notify_all()


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}
