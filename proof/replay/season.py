"""A season of orders on a running stack, with all that replay must get right: repetitions, declines, top-ups, history.

It ends with what bugs hide from: declines whose user could pay by now, and baskets on their way for a second time.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import aiohttp

from local.stack import KAFKA_SINK, Stack
from tests.support.stack_fixtures import eventually

_AT_ONCE = 40  # customers; more of them only wait for each other
_DECLINED = 0.15
_REPEATED = 0.1


@dataclass
class _Customer:
    http: aiohttp.ClientSession
    url: str
    user: str
    chance: random.Random
    orders: int = 0
    declined: int = 0

    async def call(self, method: str, path: str, **fields: object) -> Any:
        async with self.http.request(method, self.url + path, json={"user": self.user, **fields}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def deposit(self, sum_: int) -> None:
        await self.call("POST", "/DepositCash", sum=sum_)

    async def post_order(self, sum_: int) -> dict[str, Any]:
        basket = await self.call("GET", "/GetBasket")
        order = {"basket": basket["basket"], "attempt": basket["attempt"], "sum": sum_}
        for _ in range(2 if self.chance.random() < _REPEATED else 1):
            await self.call("POST", "/Order", **order)
        self.orders += 1
        return order

    async def order(self, sum_: int) -> None:
        """Order, and wait for the decision; a balance that is short is a decline."""
        order = await self.post_order(sum_)

        async def decided() -> bool:
            return bool((await self.call("GET", "/GetOrder", basket=order["basket"]))["message"] != "ordered")

        await eventually(decided, 60)

    async def season(self, orders: int) -> None:
        await self.call("POST", "/CreateUser")
        while self.orders < orders:
            sum_ = self.chance.randint(1, 100)
            account = await self.call("GET", "/GetUser")
            if self.chance.random() < _DECLINED:
                await self.order(account["balance"] + sum_)
                await self.deposit(sum_)
            elif account["balance"] < sum_:
                await self.deposit(10 * sum_)
            else:
                await self.order(sum_)
        # The last basket was declined, and could be paid by now.
        self.declined = (await self.call("GET", "/GetUser"))["balance"] + 1
        await self.order(self.declined)
        await self.deposit(self.declined)


async def pass_a_season(stack: Stack, users: int, orders_each: int, seed: int = 1) -> int:
    """Let customers order until each has ordered so often; return the number of orders.

    Each basket is settled and notified, but for those of a fifth of the customers. They have ordered their declined
    basket once more after the sink stopped, which it remains, and resend too: these orders are accepted, and no more.
    """
    connector = aiohttp.TCPConnector(limit=2 * _AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as http:
        customers = [
            _Customer(http, stack.url, f"Павел {number}", random.Random(f"{seed} {number}")) for number in range(users)
        ]
        turns = asyncio.Semaphore(_AT_ONCE)

        async def take_a_turn(customer: _Customer) -> None:
            async with turns:
                await customer.season(orders_each)

        await asyncio.gather(*map(take_a_turn, customers))
        orders = sum(customer.orders for customer in customers)

        async def all_notified() -> bool:
            pages = [await customer.call("GET", "/List", limit=1000) for customer in customers]
            return sum(len(page["notifications"]) for page in pages) == orders

        await eventually(all_notified, 60)
        await stack.pings["resend-orders"].stop()
        await stack.stop_part(KAFKA_SINK)
        for customer in customers[::5]:
            await customer.post_order(customer.declined)
        return orders + len(customers[::5])
