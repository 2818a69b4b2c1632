"""Settle a basket as billing decided: `paid`, or `open` again.

Trigger   PaymentDecided on topic `results`
Once per  basket and attempt
"""

from functions_framework import aio

from shop import orders
from shop.edge import Call, consumer
from shop.schema.events_pb2 import PaymentDecided


@aio.http
@consumer(PaymentDecided, orders.SERVICE)
async def order_handler(decided: PaymentDecided, _: Call) -> str:
    return await orders.settle(decided)
