"""notify_handler with a bug that is deployed while a file exists: it refuses every event. For FUNCTION_SOURCE."""

import os
from pathlib import Path

from functions_framework import aio

from shop import notifications
from shop.edge import Call, consumer
from shop.errors import Code, Impossible, Unavailable
from shop.schema.events_pb2 import PaymentDecided

_BUG = Path(os.environ["BUG"])


def _deployed() -> str:
    return _BUG.read_text() if _BUG.exists() else ""


@aio.http
@consumer(PaymentDecided, notifications.SERVICE)
async def notify_handler(decided: PaymentDecided, _: Call) -> str:
    """Refuse for good, or for now, as the file says; without it do what the function does."""
    match _deployed():
        case "later":
            raise Unavailable(Code.SINK_UNAVAILABLE, "the mail server is down")
        case "for good":
            raise Impossible(Code.IMPOSSIBLE_VALUE, f"cannot notify of basket {decided.basket}: no template 'v2'")
    await notifications.record(decided)
    return "notified"
