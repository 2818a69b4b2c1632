"""Charge the user of an ordered basket once, or decline for good.

Trigger   PaymentRequested on topic `payments`
Once per  basket and attempt
Emits     PaymentDecided on topic `results`
"""

from functions_framework import aio

from shop import billing
from shop.edge import Call, consumer
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested


@aio.http
@consumer(PaymentRequested, billing.SERVICE, emits=PaymentDecided)
async def billing_handler(requested: PaymentRequested, call: Call) -> str:
    return await billing.charge(requested, call.emit, call.traceparent)
