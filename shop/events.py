"""Take CloudEvents in: a function is called with a checked message, and its outcome tells KafkaSource what to do.

200 done, done before, or too old to matter. 422 can never work: KafkaSource sends it to the dead letters at once, our
text beside it. 503 (or 500, for a bug) later: KafkaSource retries, then sends it to the dead letters.

The framework's own CloudEvent signature decodes data that happens to be JSON, protobuf included, so events arrive here
through its HTTP signature: binary mode straight from the headers, any other mode through the CloudEvents SDK.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from shop import edge
from shop.errors import Impossible, Malformed, Rejected, Unavailable
from shop.messages import event_id, from_bytes
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested

E = TypeVar("E", PaymentDecided, PaymentRequested)

_Function = Callable[[Request], Awaitable[Response]]


def consumer(kind: type[E]) -> Callable[[Callable[[E], Awaitable[str]]], _Function]:
    """Make an event function that is called with the event's message and returns what became of it, for the log."""

    def decorate(function: Callable[[E], Awaitable[str]]) -> _Function:
        async def work(request: Request, handling: edge.Handling) -> Response:
            if request.method != "POST":
                return _method_not_allowed(request, handling)
            attributes, data = _read(request.headers, await edge.read_body(request))
            handling.key = attributes.get("id", "-")
            handling.outcome = await function(_message(kind, attributes, data))
            return Response()

        return edge.function(function, work, _refuse)

    return decorate


def tick(*, deadline_s: float) -> Callable[[Callable[[], Awaitable[str]]], _Function]:
    """Make a function that a PingSource calls. What the event says does not matter: it only says that it is time.

    The deadline, in seconds, bounds all of the function's work, MongoDB's included.
    """

    def decorate(function: Callable[[], Awaitable[str]]) -> _Function:
        async def work(request: Request, handling: edge.Handling) -> Response:
            if request.method != "POST":
                return _method_not_allowed(request, handling)
            await edge.read_body(request)
            handling.key = request.headers.get("ce-id", "-")
            handling.outcome = await function()
            return Response()

        return edge.function(function, work, _refuse, deadline_s=deadline_s, mongo_s=deadline_s)

    return decorate


def _read(headers: Mapping[str, str], body: bytes) -> tuple[Mapping[str, str], bytes]:
    """Return a CloudEvent's attributes and its data, untouched. Raises Malformed for what is no CloudEvent."""
    if "ce-specversion" in headers:
        attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
        if "content-type" in headers:
            attributes["datacontenttype"] = headers["content-type"]
        return attributes, body
    return _read_structured(headers, body)


def _read_structured(headers: Mapping[str, str], body: bytes) -> tuple[Mapping[str, str], bytes]:
    from cloudevents.exceptions import GenericException
    from cloudevents.http import from_http

    try:
        event = from_http(dict(headers), body, data_unmarshaller=lambda data: data)
    except (GenericException, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Malformed(f"this is not a CloudEvent: {error}") from error
    if not isinstance(event.data, bytes):
        raise Malformed("a structured event must carry its data as data_base64, for the data is protobuf")
    return {name: str(value) for name, value in event.get_attributes().items() if value is not None}, event.data


def _message(kind: type[E], attributes: Mapping[str, str], data: bytes) -> E:
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            raise Malformed(f"the CloudEvent has no {name}")
    if attributes.get("specversion") != "1.0":
        raise Malformed(f"the CloudEvent's specversion is {attributes.get('specversion')}; send 1.0")
    if attributes["type"] != kind.DESCRIPTOR.full_name:
        raise Impossible(
            f"the CloudEvent's type is {attributes['type']}; this function takes {kind.DESCRIPTOR.full_name}"
        )
    content_type = attributes.get("datacontenttype", "").partition(";")[0].strip().lower()
    if content_type != "application/protobuf":
        raise Impossible(f"the data is {content_type or 'of no content type'}; send application/protobuf")
    event = from_bytes(kind, data)
    if attributes["id"] != event_id(event):
        raise Impossible(
            f"the CloudEvent's id is {attributes['id']}, yet its data is of {event_id(event)}: it was edited"
        )
    return event


def _refuse(reason: Rejected | Unavailable | None) -> Response:
    match reason:
        case Rejected():
            # The text may quote a structured event, where JSON allows surrogates, which UTF-8 does not.
            return PlainTextResponse(str(reason).encode("utf-8", "backslashreplace"), status_code=422)
        case Unavailable():
            return PlainTextResponse(str(reason), status_code=503)
        case None:
            return PlainTextResponse("a bug in the function; its log has the trace", status_code=500)


def _method_not_allowed(request: Request, handling: edge.Handling) -> Response:
    handling.outcome = "method not allowed"
    return PlainTextResponse(f"{request.method} is not answered here; POST a CloudEvent", 405, {"Allow": "POST"})
