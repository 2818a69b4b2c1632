"""Do what HTTP requests and CloudEvents have in common: bound, time, and log them, and sort what went wrong.

Promises: no body over the limit is read into memory; nothing is done before the whole request is here and the
service's database is set up; no function works longer than its deadline, and only a client that asked for it waits any
longer; a function is healthy while MongoDB is down; whatever a function raises becomes an answer without a stack trace.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from google.protobuf.message import Message
from pymongo.errors import PyMongoError
from starlette import requests, responses

from shop.edge import spans
from shop.edge.asgi import App, Receive, Request, Response, Scope, Send, in_text
from shop.edge.origins import opened
from shop.errors import Code, Malformed, Rejected, TooLarge, Unavailable
from shop.identity.caller import Needs
from shop.process import context, log, process, trace
from shop.store import client, readiness

if TYPE_CHECKING:
    from shop.process.tracing import Span

MAX_BODY = 64 * 1024
"""The largest body, in bytes: a request or event of ours is under 2 KiB, whatever the user's script."""

BODY_S = 10.0
"""The longest wait for a body. It comes before everything else, so a client that stalls spends nobody's deadline."""

DEADLINE_S = 10.0
"""The longest a function works on one message: MongoDB's 5 s and the sink's 2 s inside it. With the body's it is inside
Serving's 30 s."""

HEALTH_S = 0.5
"""The longest a health check looks for missing indexes: a probe waits for 1 s."""

_log = logging.getLogger(__name__)


@dataclass
class Handling:
    """The message in hand, filled in as it becomes known: what the log will say of it, and what is to come."""

    started: float = field(default_factory=time.monotonic)
    body: bytes | None = None
    """The body, once it is here to its end; before that nothing is done."""

    key: str = "-"
    outcome: str = "done"
    span: "Span | None" = None
    """What is recorded of it, where spans are wanted."""

    later: Callable[[], Awaitable[Response]] | None = None
    """What makes a better answer once the work is done and its deadline is over; it always makes one."""


Function = Callable[[requests.Request], Awaitable[responses.Response]]
"""A function as the framework calls it."""

Work = Callable[[Request, bytes, readiness.Epoch, Handling], Awaitable[Response]]
Refuse = Callable[[Request, Rejected | Unavailable | None], Response]
"""Words a refusal of a request: for good, for now, or (None) because of a bug of ours."""


@dataclass(frozen=True)
class Label:
    """What a function's decorators say of it; whoever lists functions reads it there."""

    service: str
    """The service whose database it works on."""

    trigger: Literal["GET", "POST", "event", "tick"]
    takes: type[Message] | None = None
    answers: type[Message] | None = None
    emits: type[Message] | None = None
    needs: Needs = "user"
    """Whose token it needs, where tokens are demanded of customers. No event and no tick has one."""
    waits: bool = False
    """Whether a client may wait for what is not known yet."""


def label_of(function: Callable[..., object]) -> Label:
    """Return the label of a function of ours, as the framework finds it in its module."""
    label = vars(function)["label"]
    if not isinstance(label, Label):
        raise TypeError(f"{label} is no label")
    return label


def app_of(function: Callable[..., object]) -> App | None:
    """Return what answers a server without the framework, for a function of ours or whatever the framework wraps it in.

    None for a function that is not ours.
    """
    app: App | None = vars(function).get("app")
    return app


class GoneError(Exception):
    """The client hung up before the end of its body."""


@dataclass(frozen=True)
class Edge:
    """What differs between a function that answers HTTP and one that takes events."""

    allows: tuple[str, ...]
    """The methods that are answered. The first does the work; HEAD, if it is there, does it for the head of the answer,
    and OPTIONS for none."""

    refuse: Refuse
    not_allowed: Callable[[Request], Response]
    """Words the answer to another method."""

    begins: bool = False
    """Whether a trace begins here, and the answer tells which: at the function that a client's request enters."""


def function(
    named: Callable[..., object],
    label: Label,
    edge: Edge,
    work: Work,
    *,
    deadline_s: float = DEADLINE_S,
    mongo_s: float = client.DEADLINE_S,
) -> Function:
    """Make a function of the framework, named after ours, from one that works on a whole request."""
    # `functions-framework` and `shop.serve` both come by here before they take a message.
    origins = process.start().settings.cors_origins
    method, heads = edge.allows[0], "HEAD" in edge.allows

    async def answer(request: Request) -> Response:
        if request.path == "/healthz":
            return await _health(label.service, request.method)
        handling, detail, code, level = Handling(), "", "", logging.INFO
        traceparent = _traceparent(request, begins=edge.begins)
        if (tracer := process.current().tracer) is not None:
            traceparent, handling.span = spans.enter(tracer, request, traceparent, label, named.__name__)
        elif traceparent is None and edge.begins:
            traceparent = trace.begin(process.current().random_bits)
        context.traceparent.set(traceparent)
        try:
            if request.method == method or (heads and request.method == "HEAD"):
                limit, now = process.current().limit, asyncio.get_running_loop().time
                async with asyncio.timeout(limit(BODY_S)) as bound:
                    handling.body = await _read_body(request)
                    bound.reschedule(now() + limit(deadline_s))
                    with client.deadline(mongo_s):
                        current = await readiness.ready(label.service)
                        context.epoch.set(current.number)
                        response = await work(request, handling.body, current, handling)
                if handling.later is not None:
                    response = await handling.later()
            elif request.method == "OPTIONS" and "OPTIONS" in edge.allows:
                handling.outcome, response = "options", Response(headers={"Allow": ", ".join(edge.allows)})
            else:
                code, response = str(Code.METHOD_NOT_ALLOWED), edge.not_allowed(request)
                handling.outcome = log.REFUSED
        except Exception as error:  # noqa: BLE001 - the last place to catch it; what was not foreseen is logged with its trace
            reason = _sort(error, handling)
            response = edge.refuse(request, reason)
            handling.outcome = _outcome(reason)
            detail = str(error) if reason else f"{type(error).__name__}: {error}"
            code = str(reason.code if reason else Code.INTERNAL_ERROR)
            level = logging.WARNING if isinstance(reason, Rejected) else logging.ERROR
        duration_s = time.monotonic() - handling.started
        log.handled(handling.key, handling.outcome, duration_s, level=level, code=code, detail=detail)
        if tracer is not None:
            spans.leave(tracer, handling.span, response.status_code, handling.outcome, code)
        if edge.begins and traceparent is not None:
            response.raw_headers.append((b"traceparent", traceparent.encode()))
        return response

    answered = opened(answer, origins, edge.allows) if origins and "OPTIONS" in edge.allows else answer

    async def handle(request: requests.Request) -> responses.Response:
        return await answered(Request(request.scope, request.receive))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (await answered(Request(scope, receive)))(scope, receive, send)

    handle.__name__ = named.__name__  # the framework registers and finds it by its name
    handle.__doc__ = named.__doc__
    vars(handle).update(label=label, app=app)
    return handle


def _outcome(reason: Rejected | Unavailable | None) -> str:
    match reason:
        case Rejected():
            return log.REFUSED
        case Unavailable():
            return log.UNAVAILABLE
        case None:
            return log.FAILED


async def _health(service: str, method: str) -> Response:
    if method not in ("GET", "HEAD"):
        return in_text("GET /healthz; nothing was done\n", 405, {"Allow": "GET, HEAD"})
    if problem := await readiness.problem(service, HEALTH_S):
        return in_text(f"{problem}\n", 503)
    return in_text("ok\n")


def _sort(error: Exception, handling: Handling) -> Rejected | Unavailable | None:
    """Tell a refusal for good from one for now; None, with its trace in the log, for what nobody foresaw."""
    if isinstance(error, Rejected | Unavailable):
        return error
    if isinstance(error, GoneError):
        return Malformed(Code.MALFORMED_REQUEST, "the body ended early; send all of it")
    if isinstance(error, PyMongoError):
        # A network error, a write-concern error, a deadline: whether it was done is unknown, and a repeat finds out.
        return Unavailable(Code.DATABASE_UNAVAILABLE, "MongoDB did not answer in time; try again")
    if isinstance(error, TimeoutError) and handling.body is None:
        return Unavailable(
            Code.BODY_LATE, f"the body did not come within {BODY_S:.0f} s, and nothing was done; send it again"
        )
    if isinstance(error, TimeoutError):
        return Unavailable(Code.DEADLINE_PASSED, "the function did not finish in time; try again")
    _log.error("unhandled exception", exc_info=error)
    return None


def _traceparent(request: Request, *, begins: bool) -> str | None:
    """Return the trace that a message comes in, if any: what an event says goes before what its last hop says."""
    first = request.first
    if not begins and b"ce-traceparent" in first and (sent := trace.read(request.header(b"ce-traceparent"))):
        return sent
    # One that is sent twice is none, for nobody knows which.
    if (
        b"traceparent" in first
        and len(headers := request.headers(b"traceparent")) == 1
        and (sent := trace.read(headers[0]))
    ):
        return sent
    return None


async def _read_body(request: Request) -> bytes:
    """Return the body.

    Raises TooLarge as soon as it is known to be over the limit, the rest unread; GoneError when its end never comes.
    """
    body, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise TooLarge(Code.BODY_TOO_LARGE, f"the body is over {MAX_BODY} bytes; send less")
    return body
