"""Add money to a balance.

Trigger   POST /DepositCash
Once per  user and Idempotency-Key; every time without the header
"""

from functions_framework import aio

from shop import billing
from shop.archive import DEPOSITS
from shop.edge import http
from shop.schema.billing_pb2 import DepositCashRequest, DepositCashResponse


@aio.http
@http.post(DepositCashRequest, headers=("Idempotency-Key",))
async def deposit_cash(request: DepositCashRequest, idempotency_key: str | None) -> http.Answer:
    deposited = await billing.deposit(request.user, request.sum, idempotency_key)
    await DEPOSITS.bound(deposited.account)
    return http.Answer(
        DepositCashResponse(status=True, message="deposited", balance=deposited.balance),
        replayed=deposited.replayed,
    )
