"""Show a user's balance, latest paid baskets and latest deposits.

Trigger   GET /GetUser
"""

from functions_framework import aio

from shop import billing
from shop.edge import http
from shop.messages import from_document
from shop.schema.billing_pb2 import GetUserRequest, GetUserResponse

SHOWN = 64


@aio.http
@http.get(GetUserRequest)
async def get_user(request: GetUserRequest) -> GetUserResponse:
    account = await billing.find_account(request.user)
    return from_document(
        GetUserResponse,
        account,
        status=True,
        message=request.user,
        paid_baskets=account.get("paid_baskets", [])[: -SHOWN - 1 : -1],
        deposits=account.get("deposits", [])[: -SHOWN - 1 : -1],
    )
