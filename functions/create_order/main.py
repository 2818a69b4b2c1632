"""Order a basket for a sum, and ask for its payment.

Trigger   POST /Order
Once per  basket and attempt
Emits     PaymentRequested on topic `payments`
"""

import logging

from functions_framework import aio

from shop import emission, orders
from shop.edge import http
from shop.errors import Unavailable
from shop.messages import from_document
from shop.schema.orders_pb2 import OrderRequest, OrderResponse


@aio.http
@http.post(OrderRequest)
async def create_order(request: OrderRequest) -> http.Answer:
    emission.check()
    attempt = request.attempt if request.HasField("attempt") else None
    ordered = await orders.order(request.user, request.basket, request.sum, attempt)
    if ordered.event is not None:
        try:
            await emission.emit(ordered.event)
        except Unavailable as error:
            # Accepted all the same: the basket is its own outbox, and resend_orders finds it.
            logging.getLogger(__name__).warning("left to resend_orders: %s", error)
    return http.Answer(
        from_document(OrderResponse, vars(ordered), status=True),
        replayed=ordered.replayed,
    )
