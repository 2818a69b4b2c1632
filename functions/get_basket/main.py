"""Return the user's one unpaid basket, and make it if there is none.

Trigger   GET /GetBasket
Once per  user and basket number
"""

from functions_framework import aio

from shop import orders
from shop.edge import Call, get
from shop.schema.orders_pb2 import GetBasketRequest, GetBasketResponse


@aio.http
@get(GetBasketRequest, GetBasketResponse, makes=True)
async def get_basket(request: GetBasketRequest, _: Call) -> GetBasketResponse:
    return await orders.give_basket(request)
