"""Give the user's one unpaid basket, making one if there is none.

Trigger   GET /GetBasket
Once per  user and basket number
"""

from functions_framework import aio

from shop import orders
from shop.edge import http
from shop.schema.orders_pb2 import GetBasketRequest, GetBasketResponse


@aio.http
@http.get(GetBasketRequest)
async def get_basket(request: GetBasketRequest) -> GetBasketResponse:
    basket = await orders.current_basket(request.user)
    return GetBasketResponse(
        status=True,
        message=str(basket["_id"]),
        basket=str(basket["_id"]),
        attempt=orders.next_attempt(basket),
        order_status=basket["status"],
    )
