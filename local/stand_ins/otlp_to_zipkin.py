"""Hand spans on to Zipkin: it takes them in a form of its own, and functions send OpenTelemetry's.

Stands in for OpenTelemetry's collector, of which it does this one thing. It hides a collector's retries: what Zipkin
does not take is lost, and said in the log.
"""

import asyncio
import gzip
import json
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_KINDS: Final = {
    Span.SPAN_KIND_SERVER: "SERVER",
    Span.SPAN_KIND_CLIENT: "CLIENT",
    Span.SPAN_KIND_PRODUCER: "PRODUCER",
    Span.SPAN_KIND_CONSUMER: "CONSUMER",
}


def translated(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    """Yield Zipkin's form of spans. It knows no links, so they are a tag."""
    for of in request.resource_spans:
        service = _tags(of.resource.attributes).get("service.name", "unknown")
        for span in (span for scope in of.scope_spans for span in scope.spans):
            tags = _tags(span.attributes)
            if span.links:
                tags["links"] = " ".join(f"{link.trace_id.hex()}-{link.span_id.hex()}" for link in span.links)
            if span.status.code == Status.STATUS_CODE_ERROR:
                tags["error"] = span.status.message or "error"
            yield {
                "traceId": span.trace_id.hex(),
                "id": span.span_id.hex(),
                **({"parentId": span.parent_span_id.hex()} if span.parent_span_id else {}),
                "name": span.name,
                **({"kind": _KINDS[span.kind]} if span.kind in _KINDS else {}),
                "timestamp": span.start_time_unix_nano // 1000,
                "duration": max(1, (span.end_time_unix_nano - span.start_time_unix_nano) // 1000),
                "localEndpoint": {"serviceName": service},
                "tags": tags,
            }


def _tags(attributes: Iterable[KeyValue]) -> dict[str, str]:
    tags = {}
    for each in attributes:
        value = getattr(each.value, each.value.WhichOneof("value") or "string_value")
        tags[each.key] = str(value).lower() if isinstance(value, bool) else str(value)
    return tags


async def serve(config: dict[str, Any]) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    async with aiohttp.ClientSession() as client:

        async def traces(request: web.Request) -> web.Response:
            body = await request.read()
            sent = ExportTraceServiceRequest.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
            try:
                async with client.post(f"{config['zipkin_url']}/api/v2/spans", json=list(translated(sent))) as answer:
                    if answer.status != 202:
                        print(f"Zipkin answered {answer.status}: {await answer.text()}", flush=True)
            except aiohttp.ClientError as error:
                print(f"Zipkin did not answer: {error}", flush=True)
            return web.Response()

        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/traces", traces)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, config["host"], config["port"]).start()
        print(f"otlp_to_zipkin ready on http://{config['host']}:{config['port']}", flush=True)
        await stopping.wait()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
