"""Make spans of what a process does, where OTEL_EXPORTER_OTLP_ENDPOINT names who takes them.

Promises: nobody waits for a span. Without an endpoint none of this is imported; with one, OpenTelemetry is, in a thread
and after the first answer, so a cold start pays nothing, and the spans until then are sent as they were. What is
recorded follows the flag of the trace, and for a trace that begins here OTEL_TRACES_SAMPLER.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from shop.process import trace
from shop.process.settings import Traces

Value = str | int | bool
Kind = Literal["server", "consumer", "producer", "client"]

HELD = 2048
"""The most spans that wait for OpenTelemetry to be imported; as many as it lets wait by itself. The oldest go first."""

LINKS = 128
"""The most links of one span, as in OpenTelemetry."""

FLUSH_S = 3.0
"""How long the end of a process waits for its last spans: with the drain before it inside the 30 s of Kubernetes."""

_log = logging.getLogger(__name__)


class _Flags:
    sampled = True


class _Recorded:
    trace_flags = _Flags()


@dataclass(slots=True, eq=False)
class Span:
    """Something that was done, in a trace; what is made of it for OpenTelemetry is made when it is sent."""

    name: str
    kind: Kind
    traceparent: str
    parent: str | None
    attributes: dict[str, Value]
    links: list[str] = field(default_factory=list)
    failed: str = ""
    started_ns: int = field(default_factory=time.time_ns)
    ended_ns: int = 0

    context: ClassVar[_Recorded] = _Recorded()
    """What the queue of OpenTelemetry looks at: only what is recorded gets there."""

    def link(self, traceparent: str) -> None:
        """Say that something else belongs to it, too."""
        if traceparent not in self.links and len(self.links) < LINKS:
            self.links.append(traceparent)


current: ContextVar[tuple[Span, ...]] = ContextVar("spans", default=())
"""The spans that what is done now is a part of: the first is its parent, and others share it."""


class Tracer:
    """What makes the spans of a process, and hands them to whoever sends them."""

    current = current

    def __init__(
        self, traces: Traces, random_bits: Callable[[int], int], send: Callable[[Span], None] | None = None
    ) -> None:
        """Begin; `send` stands in for OpenTelemetry."""
        self._traces = traces
        self._random_bits = random_bits
        self._sender = Sender(traces)
        self._send = send or self._sender
        self.is_started = send is not None

    def enter(
        self, name: str, kind: Kind, parent: str | None, attributes: dict[str, Value]
    ) -> "tuple[str, Span | None]":
        """Begin what is done because of a message; return the trace it is done in, and its span if it is recorded."""
        sampled = self._samples(parent)
        if parent is None:
            traceparent = trace.begin(self._random_bits, sampled=sampled)
        elif sampled:
            traceparent = self._within(parent)
        else:
            traceparent = parent[:-1] + "0"
        span = Span(name, kind, traceparent, parent, attributes) if sampled else None
        current.set((span,) if span else ())
        return traceparent, span

    def begin(self, name: str, kind: Kind, attributes: dict[str, Value], parent: str | None = None) -> Span | None:
        """Begin a part of what is done now, or of a trace that it belongs to; None when that is not recorded."""
        parts = [span for span in current.get() if not span.ended_ns]
        if parent is None or (parts and trace.trace_of(parts[0].traceparent) == trace.trace_of(parent)):
            if not parts:
                return None
            span = Span(name, kind, self._within(parts[0].traceparent), parts[0].traceparent, attributes)
            parts = parts[1:]
        elif trace.is_sampled(parent):
            span = Span(name, kind, self._within(parent), parent, attributes)
        else:
            return None
        for part in parts:
            span.link(part.traceparent)
            if parent is not None:
                part.link(parent)
        return span

    def end(self, span: Span, failed: str = "") -> None:
        """End a span; it `failed` with a code."""
        span.ended_ns, span.failed = time.time_ns(), failed
        self._send(span)

    def answered(self) -> None:
        """Say that a message is answered: now whatever takes its time may be done."""
        if not self.is_started:
            self.is_started = True
            self._sender.start()

    def flush(self) -> None:
        """Send what is left, as long as FLUSH_S allows it."""
        self._sender.flush(FLUSH_S)

    def _within(self, parent: str) -> str:
        return trace.traceparent(trace.trace_of(parent), f"{self._random_bits(64) or 1:016x}", sampled=True)

    def _samples(self, parent: str | None) -> bool:
        sampler = self._traces.sampler
        if sampler.startswith("parentbased_"):
            if parent is not None:
                return trace.is_sampled(parent)
            sampler = sampler.removeprefix("parentbased_")
        if sampler == "traceidratio":
            return self._random_bits(64) < self._traces.ratio * 2**64
        return sampler == "always_on"


class Sender:
    """Sends spans with OpenTelemetry, as soon as it is imported."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._waiting: deque[Span] = deque(maxlen=HELD)
        self._processor: Any = None
        self._loading: threading.Thread | None = None

    def __call__(self, span: Span) -> None:
        """Take a span."""
        if self._processor is None:
            self._waiting.append(span)
        else:
            self._processor.on_end(span)

    def start(self) -> None:
        """Import OpenTelemetry, apart from everybody, once."""
        if self._loading is None:
            self._loading = threading.Thread(target=self._load, name="opentelemetry", daemon=True)
            self._loading.start()

    def flush(self, seconds: float) -> None:
        """Send all spans, as long as that takes no longer."""
        self.start()
        flushing = threading.Thread(target=self._flush, name="last spans", daemon=True)
        flushing.start()
        flushing.join(seconds)

    def _load(self) -> None:
        try:
            from shop.process.export import processor

            self._processor = processor(self._traces)
        except Exception:  # noqa: BLE001 - what looks at the work must not end it
            _log.exception("no spans are sent")
            return
        self._drain()

    def _drain(self) -> None:
        while self._processor is not None and self._waiting:
            self._processor.on_end(self._waiting.popleft())

    def _flush(self) -> None:
        if self._loading is not None:
            self._loading.join()
        self._drain()
        if self._processor is not None:
            self._processor.force_flush()
