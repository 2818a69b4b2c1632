"""Show the outcome of an order.

Trigger   GET /GetOrder
"""

from functions_framework import aio

from shop import orders
from shop.edge import Answer, Call, get
from shop.schema.orders_pb2 import GetOrderRequest, GetOrderResponse


@aio.http
@get(GetOrderRequest, GetOrderResponse, waits=True)
async def get_order(request: GetOrderRequest, _: Call) -> Answer[GetOrderResponse]:
    shown = await orders.show_order(request)
    return Answer(shown, later=lambda: orders.show_once_decided(request, shown))
