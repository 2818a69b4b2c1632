"""shop.edge.handling bounds the work on one message, and sorts whatever goes wrong."""

import asyncio
import logging
import time

import pytest
from pymongo import _csot
from starlette.requests import Request
from starlette.responses import Response

from shop.edge.handling import BODY_S, Edge, Handling, Label, Work, function
from shop.errors import Rejected, Unavailable
from shop.process.process import Process, current, running
from shop.store.readiness import Epoch

Reason = Rejected | Unavailable | None

pytestmark = pytest.mark.usefixtures("databases")


def refusing(reasons: list[Reason]) -> Edge:
    """Return an edge that keeps the reasons of its refusals."""

    def refuse(_: object, reason: Reason) -> Response:
        reasons.append(reason)
        return Response(status_code=400)

    return Edge(("POST",), refuse, lambda _: Response(status_code=405))


async def handle(work: Work, *chunks: bytes | float, **deadlines: float) -> Reason:
    """Let a function work on a request whose body comes in these pieces and pauses; return why it was refused."""
    reasons: list[Reason] = []
    coming = list(chunks)

    async def receive() -> dict[str, object]:
        if coming and isinstance(coming[0], float):
            await asyncio.sleep(coming.pop(0))
        body = coming.pop(0) if coming else b""
        return {"type": "http.request", "body": body, "more_body": bool(coming)}

    handle_it = function(work, Label("billing", "event"), refusing(reasons), work, **deadlines)
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    await handle_it(Request(scope, receive))
    return reasons[0] if reasons else None


async def test_no_message_is_worked_on_beyond_the_deadline() -> None:
    """It is given up for now, with a word to try again."""

    async def work(_: Request, __: bytes, ___: Epoch, handling: Handling) -> Response:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    started = time.monotonic()
    reason = await handle(work, deadline_s=0.05)
    assert time.monotonic() - started < 5
    assert isinstance(reason, Unavailable)
    assert reason.code.retryable


async def test_what_nobody_foresaw_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    """Its one line says the kind of error; a second record has the trace."""

    async def work(_: Request, __: bytes, ___: Epoch, handling: Handling) -> Response:
        handling.key = "66f0c1d2e3a4b5c6d7e8f901"
        raise ZeroDivisionError("secret")

    assert await handle(work) is None
    unhandled, handled = caplog.records
    assert unhandled.exc_info is not None
    assert (handled.levelno, handled.message) == (logging.ERROR, "handled")
    fields = handled.__dict__["fields"]
    assert (fields["key"], fields["outcome"]) == ("66f0c1d2e3a4b5c6d7e8f901", "failed")
    assert fields["detail"] == "ZeroDivisionError: secret"


async def test_15_a_body_that_stalls_spends_nobody_s_deadline() -> None:
    """The deadlines of the function and of MongoDB begin when the whole body is here."""
    left: list[float] = []

    async def work(_: Request, body: bytes, __: Epoch, ___: Handling) -> Response:
        left.append(_csot.remaining() or 0)
        return Response(body)

    assert await handle(work, b"{", 0.4, b"}", deadline_s=0.3, mongo_s=0.3) is None
    assert 0.1 < left[0] <= 0.3


async def test_15_a_body_that_does_not_come_is_given_up_before_anything_is_done() -> None:
    """A repeat is safe, with or without a key: nobody was asked."""

    async def work(_: Request, __: bytes, ___: Epoch, ____: Handling) -> Response:
        raise AssertionError("the body is not here")

    with running(Process(current().settings, patience=0.05 / BODY_S)):
        reason = await handle(work, b"{", 5.0, b"}")
    assert isinstance(reason, Unavailable)
    assert reason.code.retryable
    assert "nothing was done" in str(reason)
