"""Show the outcome of an order.

Trigger   GET /GetOrder
"""

from functions_framework import aio

from shop import orders
from shop.edge import Call, get
from shop.schema.orders_pb2 import GetOrderRequest, GetOrderResponse


@aio.http
@get(GetOrderRequest, GetOrderResponse)
async def get_order(request: GetOrderRequest, _: Call) -> GetOrderResponse:
    return await orders.show_order(request)
