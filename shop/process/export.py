"""Hand spans to OpenTelemetry, which queues, packs and sends them as its own environment variables say.

The one module that imports it, and nobody imports this one before there is an endpoint and an answer was given.
"""

from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shop.process import trace
from shop.process.settings import Traces
from shop.process.tracing import Span
from shop.process.version import VERSION

_KINDS = {
    "server": SpanKind.SERVER,
    "consumer": SpanKind.CONSUMER,
    "producer": SpanKind.PRODUCER,
    "client": SpanKind.CLIENT,
}


def processor(traces: Traces) -> Any:
    """Return what takes spans of ours, and never lets anybody wait."""
    return BatchSpanProcessor(_Exporter(traces))  # type: ignore[arg-type]


class _Exporter:
    """The exporter, which is called in a thread of its own: what a span costs beyond its facts is spent there."""

    def __init__(self, traces: Traces) -> None:
        self._exporter: Any = OTLPSpanExporter()
        about = {"service.name": traces.service, "service.version": VERSION}
        if traces.revision:
            about["faas.version"] = traces.revision
        # OTEL_RESOURCE_ATTRIBUTES may say more, and nothing else about these.
        self._resource = Resource.create(about)
        self._scope = InstrumentationScope("shop", VERSION)

    def export(self, spans: Sequence[Span]) -> Any:
        """Send spans."""
        return self._exporter.export([self._readable(span) for span in spans])

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what is kept: nothing is."""
        return bool(self._exporter.force_flush(timeout_millis))

    def shutdown(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context=_context(span.traceparent, is_remote=False),
            parent=None
            if span.parent is None
            else _context(span.parent, is_remote=span.kind in ("server", "consumer")),
            resource=self._resource,
            attributes=span.attributes,
            links=[Link(_context(link, is_remote=True)) for link in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.failed) if span.failed else Status(),
            start_time=span.started_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self._scope,
        )


def _context(traceparent: str, *, is_remote: bool) -> SpanContext:
    ids = int(trace.trace_of(traceparent), 16), int(trace.span_of(traceparent), 16)
    return SpanContext(*ids, is_remote=is_remote, trace_flags=TraceFlags(trace.is_sampled(traceparent)))
