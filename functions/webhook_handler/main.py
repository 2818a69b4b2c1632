"""Tell receivers outside of each decision, as Standard Webhooks has it; without a receiver, do nothing.

Trigger   PaymentDecided on topic `results`, in a consumer group of its own
Once per  delivery; receivers know a repeat by its `webhook-id`
"""

from functions_framework import aio

from shop import webhooks
from shop.edge import Call, consumer
from shop.schema.events_pb2 import PaymentDecided


@aio.http
@consumer(PaymentDecided, webhooks.SERVICE)
async def webhook_handler(decided: PaymentDecided, _: Call) -> str:
    return await webhooks.tell(decided)
