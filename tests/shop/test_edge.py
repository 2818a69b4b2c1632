"""shop.edge bounds the work on one message, and sorts whatever goes wrong."""

import asyncio
import logging
import time

import pytest
from starlette.requests import Request
from starlette.responses import Response

from shop import edge
from shop.errors import Rejected, Unavailable

Reason = Rejected | Unavailable | None


async def handle(work: edge.Work, **deadlines: float) -> Reason:
    """Let a function work on an empty request; return the reason of its refusal."""
    reasons: list[Reason] = []

    def refuse(reason: Reason) -> Response:
        reasons.append(reason)
        return Response(status_code=400)

    function = edge.function(work, work, refuse, **deadlines)
    await function(Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}))
    (reason,) = reasons
    return reason


async def test_no_message_is_worked_on_beyond_the_deadline() -> None:
    """It is given up for now, with a word to try again."""

    async def work(request: Request, handling: edge.Handling) -> Response:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    started = time.monotonic()
    reason = await handle(work, deadline_s=0.05)
    assert time.monotonic() - started < 5
    assert isinstance(reason, Unavailable)
    assert reason.repeat_safe


async def test_what_nobody_foresaw_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    """Its one line says the kind of error; a second record has the trace."""

    async def work(request: Request, handling: edge.Handling) -> Response:
        handling.key = "66f0c1d2e3a4b5c6d7e8f901"
        raise ZeroDivisionError("secret")

    assert await handle(work) is None
    unforeseen, handled = caplog.records
    assert unforeseen.exc_info is not None
    assert (handled.levelno, handled.message) == (logging.ERROR, "handled")
    fields = handled.__dict__["fields"]
    assert (fields["key"], fields["outcome"]) == ("66f0c1d2e3a4b5c6d7e8f901", "ZeroDivisionError")
