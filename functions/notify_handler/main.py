"""Store a notification for each decision; nothing is sent outside.

Trigger   PaymentDecided on topic `results`, in a consumer group of its own
Once per  basket and attempt
"""

from functions_framework import aio

from shop import notifications
from shop.edge import Call, consumer
from shop.schema.events_pb2 import PaymentDecided


@aio.http
@consumer(PaymentDecided, notifications.SERVICE)
async def notify_handler(decided: PaymentDecided, _: Call) -> str:
    return await notifications.record(decided)
