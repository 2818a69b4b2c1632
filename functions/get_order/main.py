"""Show what became of a basket.

Trigger   GET /GetOrder
"""

from functions_framework import aio

from shop import orders
from shop.edge import http
from shop.schema.orders_pb2 import GetOrderRequest, GetOrderResponse


@aio.http
@http.get(GetOrderRequest)
async def get_order(request: GetOrderRequest) -> GetOrderResponse:
    basket = await orders.find_order(request.user, request.basket)
    return GetOrderResponse(
        status=True,
        message=basket["status"],
        basket=str(basket["_id"]),
        number=basket["number"],
        attempt=basket["attempt"],
        sum=basket.get("sum"),
        reason=basket.get("reason"),
        ordered_at=basket.get("ordered_at"),
        decided_at=basket.get("decided_at"),
    )
