"""Show what became of a basket.

Trigger   GET /GetOrder
"""

from functions_framework import aio

from shop import orders
from shop.edge import http
from shop.messages import from_document
from shop.schema.orders_pb2 import GetOrderRequest, GetOrderResponse


@aio.http
@http.get(GetOrderRequest)
async def get_order(request: GetOrderRequest) -> GetOrderResponse:
    basket = await orders.find_order(request.user, request.basket)
    return from_document(GetOrderResponse, basket, status=True, message=basket["status"], basket=basket["_id"])
