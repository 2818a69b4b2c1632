"""Charge the customer of an ordered basket, once, or decline for good.

Trigger   PaymentRequested on topic `payments`
Once per  basket and attempt
Emits     PaymentDecided on topic `results`
"""

from functions_framework import aio

from shop import billing, emission
from shop.archive import PAID_BASKETS
from shop.edge import events
from shop.schema.events_pb2 import Outcome, PaymentRequested


@aio.http
@events.consumer(PaymentRequested, billing.SERVICE)
async def billing_handler(requested: PaymentRequested) -> str:
    emission.check()
    decision = await billing.decide(requested)
    if decision.event is None:
        return "older"
    await emission.emit(decision.event)
    await PAID_BASKETS.bound(decision.account)
    return Outcome.Name(decision.event.outcome).lower()
