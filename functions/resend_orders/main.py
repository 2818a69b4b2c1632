"""Ask again for the payment of baskets that have been ordered for too long.

Trigger   PingSource, each minute
Emits     PaymentRequested on topic `payments`, the same as before
"""

import logging
import time

from functions_framework import aio
from pymongo.errors import PyMongoError

from shop import emission, mongo, orders
from shop.edge import events
from shop.errors import Unavailable
from shop.schema.events_pb2 import PaymentRequested

WORK_S = 15.0
"""How long one tick takes up baskets. The next one comes 60 s after it, and shares what is left."""

DEADLINE_S = WORK_S + mongo.DEADLINE_S + emission.TIMEOUT_S + mongo.DEADLINE_S + 1
"""How long a tick may take in all: the last basket is claimed, emitted in vain, and made due again."""


@aio.http
@events.tick(orders.SERVICE, deadline_s=DEADLINE_S)
async def resend_orders() -> str:
    emission.check()
    started, resent = time.monotonic(), 0
    try:
        while time.monotonic() - started < WORK_S:
            with mongo.deadline():
                event = await orders.claim_due()
            if event is None:
                return f"resent {resent}"
            await _emit(event)
            resent += 1
    except (Unavailable, PyMongoError) as error:
        # An outage must not be amplified: the first failure ends the tick, and the next tick is the retry.
        logging.getLogger(__name__).warning("stopped until the next tick: %s", error)
        return f"resent {resent}, then stopped"
    return f"resent {resent}, more are due"


async def _emit(event: PaymentRequested) -> None:
    try:
        await emission.emit(event)
    except Unavailable:
        with mongo.deadline():
            await orders.due_again(event)
        raise
