"""Take CloudEvents in: a function is called with a checked message, and its outcome tells KafkaSource what to do.

200 done, done before, or too old to matter. 422 can never work: KafkaSource sends it to the dead letters at once, our
text beside it. 503 (or 500, for a bug) later: KafkaSource retries, then sends it to the dead letters.

The framework's own CloudEvent signature decodes data that happens to be JSON, protobuf included, so events arrive here
through its HTTP signature: binary mode straight from the headers, any other mode through the CloudEvents SDK.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from shop.edge import spans
from shop.edge.asgi import Request, Response, in_text
from shop.edge.call import Call, calls
from shop.edge.handling import Edge, Function, Handling, Label, function
from shop.errors import Code, Contradiction, Impossible, Malformed, Rejected, Unavailable
from shop.messages import SOURCES, Event, event_id, from_bytes, rfc3339
from shop.process import trace
from shop.store.readiness import Epoch

E = TypeVar("E", bound=Event)


def consumer(
    kind: type[E], service: str, *, emits: type[Event] | None = None
) -> Callable[[Callable[[E, Call], Awaitable[str]]], Function]:
    """Make an event function that is called with the event's message and returns what became of it, for the log.

    The service is the one whose database it works on: more than one may take the same event.
    """
    label, call = Label(service, "event", takes=kind, emits=emits), calls(emits)

    def decorate(decide: Callable[[E, Call], Awaitable[str]]) -> Function:
        async def work(request: Request, body: bytes, epoch: Epoch, handling: Handling) -> Response:
            attributes, data = _read(request, body)
            handling.key = attributes.get("id", "-")
            event = _message(kind, attributes, data)
            if handling.span is not None:
                handling.span.attributes |= spans.about(event)
            _check_epoch(event, epoch)
            handling.outcome = await decide(event, call(request, trace.read(attributes.get("traceparent"))))
            return Response()

        return function(decide, label, _EDGE, work)

    return decorate


def tick(
    service: str, *, deadline_s: float, emits: type[Event] | None = None
) -> Callable[[Callable[[Call], Awaitable[str]]], Function]:
    """Make a function that a PingSource calls. What the event says does not matter: it only says that it is time.

    The deadline, in seconds, bounds all of the function's work, MongoDB's included.
    """
    label, call = Label(service, "tick", emits=emits), calls(emits)

    def decorate(work_on: Callable[[Call], Awaitable[str]]) -> Function:
        async def work(request: Request, _: bytes, __: Epoch, handling: Handling) -> Response:
            handling.key = request.header(b"ce-id") or "-"
            handling.outcome = await work_on(call(request, None))
            return Response()

        return function(work_on, label, _EDGE, work, deadline_s=deadline_s, mongo_s=deadline_s)

    return decorate


_ATTRIBUTES = {
    "specversion": b"ce-specversion",
    "id": b"ce-id",
    "source": b"ce-source",
    "type": b"ce-type",
    "datacontenttype": b"content-type",
    "traceparent": b"ce-traceparent",
}
"""The attributes that are looked at, and the header of each in binary mode."""


def _read(request: Request, body: bytes) -> tuple[Mapping[str, str], bytes]:
    """Return a CloudEvent's attributes and its data, untouched. Raises Malformed for what is no CloudEvent."""
    sent = request.first
    if b"ce-specversion" not in sent:
        return _read_structured({name.decode("latin-1"): value.decode("latin-1") for name, value in sent.items()}, body)
    return {name: sent[header].decode("latin-1") for name, header in _ATTRIBUTES.items() if header in sent}, body


def _read_structured(headers: dict[str, str], body: bytes) -> tuple[Mapping[str, str], bytes]:
    from cloudevents.exceptions import GenericException
    from cloudevents.http import from_http

    try:
        event = from_http(headers, body, data_unmarshaller=lambda data: data)
    except (GenericException, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Malformed(Code.NOT_AN_EVENT, f"this is not a CloudEvent: {error}") from error
    if not isinstance(event.data, bytes):
        raise Malformed(
            Code.NOT_AN_EVENT, "a structured event must carry its data as data_base64, for the data is protobuf"
        )
    return {name: str(value) for name, value in event.get_attributes().items() if value is not None}, event.data


def _message(kind: type[E], attributes: Mapping[str, str], data: bytes) -> E:
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            raise Malformed(Code.NOT_AN_EVENT, f"the CloudEvent has no {name}")
    if attributes.get("specversion") != "1.0":
        raise Malformed(Code.NOT_AN_EVENT, f"the CloudEvent's specversion is {attributes.get('specversion')}; send 1.0")
    if attributes["type"] != kind.DESCRIPTOR.full_name:
        raise Impossible(
            Code.WRONG_EVENT,
            f"the CloudEvent's type is {attributes['type']}; this function takes {kind.DESCRIPTOR.full_name}",
        )
    if attributes["source"] != SOURCES[kind]:
        raise Impossible(
            Code.WRONG_EVENT,
            f"the CloudEvent's source is {attributes['source']}; only {SOURCES[kind]} may emit this event",
        )
    content_type = attributes.get("datacontenttype", "").partition(";")[0].strip().lower()
    if content_type != "application/protobuf":
        raise Impossible(
            Code.WRONG_EVENT, f"the data is {content_type or 'of no content type'}; send application/protobuf"
        )
    event = from_bytes(kind, data)
    if attributes["id"] != event_id(event):
        raise Impossible(
            Code.WRONG_EVENT,
            f"the CloudEvent's id is {attributes['id']}, but its data belongs to {event_id(event)}: it was edited",
        )
    return event


def _check_epoch(event: Event, epoch: Epoch) -> None:
    """Keep out what was emitted before the databases were restored: it tells of what never happened in them.

    Raises Contradiction for an older epoch, Unavailable for a newer one: this process is from before a restore.
    """
    if event.epoch < epoch.number:
        restored_at = rfc3339(epoch.restored_at) if epoch.restored_at else "an unknown time"
        raise Contradiction(
            Code.OLDER_EPOCH, f"emitted before the restore of {restored_at}; what is still open is asked for again"
        )
    if event.epoch > epoch.number:
        raise Unavailable(
            Code.NEWER_EPOCH,
            f"the event is of epoch {event.epoch}, and this process began in epoch {epoch.number}: the databases were "
            "restored since; end this process and start another",
        )


def _refuse(_: Request, reason: Rejected | Unavailable | None) -> Response:
    match reason:
        case Rejected():
            return _told(reason.code, str(reason), 422)
        case Unavailable():
            return _told(reason.code, str(reason), 503)
        case None:
            return _told(Code.INTERNAL_ERROR, "a bug in the function; its log has the trace", 500)


def _not_allowed(request: Request) -> Response:
    text = f"method {request.method} is not allowed; POST a CloudEvent"
    return _told(Code.METHOD_NOT_ALLOWED, text, 405, {"Allow": "POST"})


def _told(code: Code, why: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Word a refusal. A dead letter keeps its first bytes: the code comes first, and a person can read the rest."""
    # The text may quote a structured event, where JSON allows surrogates, which UTF-8 does not.
    return in_text(f"{code}: {why}".encode("utf-8", "backslashreplace"), status, headers)


_EDGE = Edge(("POST",), _refuse, _not_allowed)
