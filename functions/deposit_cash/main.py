"""Add money to a balance.

Trigger   POST /DepositCash
Once per  user and Idempotency-Key; every time without the header
"""

from functions_framework import aio

from shop import billing
from shop.edge import Answer, Call, post
from shop.schema.billing_pb2 import DepositCashRequest, DepositCashResponse


@aio.http
@post(DepositCashRequest, DepositCashResponse, needs="admin")
async def deposit_cash(request: DepositCashRequest, call: Call) -> Answer[DepositCashResponse]:
    deposited = await billing.deposit(request.user, request.sum, call.idempotency_key)
    response = DepositCashResponse(status=True, message="deposited", balance=deposited.balance)
    return Answer(response, replayed=deposited.replayed)
