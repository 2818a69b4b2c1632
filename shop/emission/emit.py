"""Emit events as CloudEvents in binary mode, built from stored state alone.

Promise: every emission of one effect in one epoch is the same byte for byte, so whoever takes two of them has taken
one. The trace is a part of that: it is the order's, whoever emits again. Only the HTTP header `traceparent`, which is
no attribute of the event and changes on each hop, says who sent it.
"""

import copy
from typing import TYPE_CHECKING
from urllib.parse import quote

from shop.emission import sink
from shop.errors import Code, Unavailable
from shop.messages import SOURCES, TOPICS, Event, event_id, happened_at, rfc3339
from shop.process import context, process

if TYPE_CHECKING:
    from shop.process.tracing import Tracer


def check() -> None:
    """Make sure that this process knows where to emit. Raises Unavailable when it does not.

    To be called before anything is done: the first revision of a Service may start before its SinkBinding is applied.
    """
    if not process.current().settings.sink:
        raise Unavailable(Code.SINK_MISSING, "K_SINK is not set; apply this function's SinkBinding")


async def emit(event: Event, traceparent: str | None = None) -> None:
    """Emit an event of an order that was made in this trace; returning means that Kafka has it.

    Raises Unavailable when that is unknown, after `sink.TIMEOUT_S` at the latest: emit it again, later.
    """
    headers = _headers(event, traceparent)
    if (tracer := process.current().tracer) is None:
        await sink.send(headers, _data(event))
    else:
        await _traced(tracer, event, headers, traceparent)


async def _traced(tracer: "Tracer", event: Event, headers: dict[str, str], traceparent: str | None) -> None:
    """Send an event, which the next hop is to see as a part of this one."""
    topic, id_ = TOPICS[type(event)], headers["ce-id"]
    span = tracer.begin(
        f"send {topic}",
        "producer",
        {
            "messaging.system": "kafka",
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "messaging.destination.name": topic,
            "messaging.message.id": id_,
            "cloudevents.event_id": id_,
            "cloudevents.event_source": headers["ce-source"],
            "cloudevents.event_spec_version": "1.0",
            "cloudevents.event_type": headers["ce-type"],
            "cloudevents.event_subject": headers["ce-subject"],
            "shop.basket": event.basket,
            "shop.attempt": event.attempt,
        },
        traceparent,
    )
    if span is None:
        await sink.send(headers, _data(event))
        return
    headers["traceparent"], failed = span.traceparent, "_OTHER"
    try:
        await sink.send(headers, _data(event))
        failed = ""
    except Unavailable as error:
        failed = str(error.code)
        raise
    finally:
        if failed:
            span.attributes["error.type"] = failed
        tracer.end(span, failed)


def _headers(event: Event, traceparent: str | None) -> dict[str, str]:
    headers = {
        "content-type": "application/protobuf",
        "ce-specversion": "1.0",
        "ce-id": event_id(event),
        "ce-type": event.DESCRIPTOR.full_name,
        "ce-source": SOURCES[type(event)],
        "ce-subject": event.basket,
        "ce-time": rfc3339(happened_at(event)),
        "ce-partitionkey": quote(event.user, safe=""),  # attributes are ASCII, customers are not
    }
    if traceparent is not None:
        headers["traceparent"] = headers["ce-traceparent"] = traceparent
    return headers | {f"ce-{name}": value for name, value in process.current().settings.event_overrides.items()}


def _data(event: Event) -> bytes:
    """Return the event's bytes. They say which epoch they are of; in epoch 0 they say nothing, as they always did."""
    if epoch := context.epoch.get():
        event = copy.deepcopy(event)
        event.epoch = epoch
    return event.SerializeToString(deterministic=True)
