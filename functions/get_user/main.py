"""Show a user's balance, latest paid baskets and latest deposits.

Trigger   GET /GetUser
"""

from functions_framework import aio

from shop import billing
from shop.edge import Call, get
from shop.schema.billing_pb2 import GetUserRequest, GetUserResponse


@aio.http
@get(GetUserRequest, GetUserResponse)
async def get_user(request: GetUserRequest, _: Call) -> GetUserResponse:
    return await billing.show_user(request)
