"""Order a basket for a sum, and request its payment.

Trigger   POST /Order
Once per  basket and attempt
Emits     PaymentRequested on topic `payments`
"""

from functions_framework import aio

from shop import orders
from shop.edge import Answer, Call, post
from shop.schema.events_pb2 import PaymentRequested
from shop.schema.orders_pb2 import OrderRequest, OrderResponse


@aio.http
@post(OrderRequest, OrderResponse, emits=PaymentRequested, waits=True)
async def create_order(request: OrderRequest, call: Call) -> Answer[OrderResponse]:
    ordered = await orders.order(request, call.emit, call.traceparent)
    return Answer(ordered.response, replayed=ordered.replayed, later=lambda: orders.once_decided(request, ordered))
