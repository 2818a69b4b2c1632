"""What takes spans in tests: a collector of OTLP over HTTP, which reads all it is sent with OpenTelemetry's schema."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from local.ports import free_port


@dataclass
class Collector:
    """The spans that came, with the service that each is of."""

    url: str
    spans: list[tuple[str, Span]] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        """Take a body; raises DecodeError for one that is none."""
        for of in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in of.resource.attributes}
            self.spans += [(about["service.name"], span) for scope in of.scope_spans for span in scope.spans]

    def named(self, *names: str) -> list[Span]:
        """Return the spans of these names, in the order in which they began."""
        return sorted(
            (span for _, span in self.spans if span.name in names), key=lambda span: span.start_time_unix_nano
        )

    async def has(self, number: int) -> None:
        """Wait until there are so many."""
        async with asyncio.timeout(20):
            while len(self.spans) < number:  # noqa: ASYNC110 - another process sends them
                await asyncio.sleep(0.02)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on a free port of loopback."""
    collector = Collector(f"http://127.0.0.1:{free_port()}")

    async def traces(request: web.Request) -> web.Response:
        body = await request.read()
        collector.take(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", traces)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(collector.url.rpartition(":")[2])).start()
    try:
        yield collector
    finally:
        await runner.cleanup()


def attributes(span: Span) -> dict[str, object]:
    """Return the attributes of a span."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in span.attributes}
