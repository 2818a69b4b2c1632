"""Request payment again for baskets that are still `ordered`.

Trigger   PingSource, each minute
Emits     PaymentRequested on topic `payments`, the same as before
"""

import time

from functions_framework import aio

from shop import orders
from shop.edge import Call, tick
from shop.schema.events_pb2 import PaymentRequested

WORK_S = 15.0
"""How long one tick takes up baskets. The next one comes 60 s after it, and shares what is left."""

DEADLINE_S = 28.0
"""How long a tick may take in all: the last basket is claimed, emitted in vain, and made due again."""


@aio.http
@tick(orders.SERVICE, deadline_s=DEADLINE_S, emits=PaymentRequested)
async def resend_orders(call: Call) -> str:
    return await orders.resend(call.emit, until=time.monotonic() + WORK_S)
