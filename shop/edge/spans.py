"""Say of a message in hand what OpenTelemetry's conventions for HTTP, messaging and CloudEvents ask for.

Nothing of it is looked at without a tracer, and nothing a customer wrote is told: ids, statuses and outcomes are.
"""

import asyncio
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from shop.edge.asgi import Request
from shop.messages import TOPICS
from shop.process import trace

if TYPE_CHECKING:
    from shop.edge.handling import Label
    from shop.process.tracing import Span, Tracer, Value

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_MOST = 128
"""Characters of a path or an id: ours are shorter."""


def enter(
    tracer: "Tracer", request: Request, sent: str | None, label: "Label", function: str
) -> "tuple[str, Span | None]":
    """Begin the span of a message that came in this trace; return the trace it is handled in, and the span."""
    attributes: dict[str, Value] = {"code.function.name": function}
    if label.trigger not in ("event", "tick"):
        method = request.method if request.method in _METHODS else "_OTHER"
        attributes |= {"http.request.method": method, "url.path": request.path[:_MOST], "url.scheme": "http"}
        return tracer.enter(f"{method} {function}", "server", sent, attributes)
    for name in ("id", "source", "type", "subject"):
        if value := request.header(f"ce-{name}".encode()):
            attributes[f"cloudevents.event_{name}"] = value[:_MOST]
    if version := request.header(b"ce-specversion"):
        attributes["cloudevents.event_spec_version"] = version[:_MOST]
    if label.takes is None:
        return tracer.enter(f"tick {function}", "consumer", sent, attributes)
    topic = TOPICS[label.takes]
    attributes |= {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": topic,
    }
    if id_ := attributes.get("cloudevents.event_id"):
        attributes["messaging.message.id"] = id_
    traceparent, span = tracer.enter(f"process {topic}", "consumer", sent, attributes)
    # What brought it is another part of the same trace: the spans of Knative's own hops, where there are any.
    last_hop = trace.read(request.header(b"traceparent"))
    if span is not None and last_hop is not None and last_hop != sent:
        span.link(last_hop)
    return traceparent, span


def about(message: Message) -> "dict[str, Value]":
    """Say which basket and attempt an answer or an event is about, if it is about one."""
    fields = message.DESCRIPTOR.fields_by_name
    return {f"shop.{name}": getattr(message, name) for name in ("basket", "attempt") if name in fields}


def leave(tracer: "Tracer", span: "Span | None", status: int, outcome: str, code: str) -> None:
    """End the span of a message that is being answered."""
    if span is not None:
        span.attributes |= {"http.response.status_code": status, "shop.outcome": outcome}
        span.attributes["shop.replayed"] = outcome == "replayed"
        # To a client that is refused the function did its work; an event that is refused is a dead letter.
        failed = code if status >= (500 if span.kind == "server" else 400) else ""
        if code:
            span.attributes["error.type" if failed else "shop.code"] = code
        tracer.end(span, failed)
    if not tracer.is_started:
        asyncio.get_running_loop().call_soon(tracer.answered)  # when this answer is on its way
