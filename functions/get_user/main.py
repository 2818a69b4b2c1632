"""Show a user's balance, latest paid baskets and latest deposits.

Trigger   GET /GetUser
"""

from functions_framework import aio

from shop import billing
from shop.edge import http
from shop.schema.billing_pb2 import Deposit, GetUserRequest, GetUserResponse, PaidBasket

SHOWN = 64


@aio.http
@http.get(GetUserRequest)
async def get_user(request: GetUserRequest) -> GetUserResponse:
    account = await billing.find_account(request.user)
    return GetUserResponse(
        status=True,
        message=request.user,
        balance=account["balance"],
        paid_baskets=[
            PaidBasket(
                basket=str(paid["basket"]),
                number=paid["number"],
                attempt=paid["attempt"],
                sum=paid["sum"],
                paid_at=paid["paid_at"],
            )
            for paid in account.get("paid_baskets", [])[: -SHOWN - 1 : -1]
        ],
        deposits=[
            Deposit(key=str(deposit["key"]), sum=deposit["sum"], at=deposit["at"])
            for deposit in account.get("deposits", [])[: -SHOWN - 1 : -1]
        ],
    )
