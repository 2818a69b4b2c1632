"""Customers who order steadily, repeat what was not answered, and write down what they were told."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self
from uuid import uuid4

import aiohttp

from proof.faults.customers import Reply, Shop, new_user
from proof.faults.waiting import eventually

_CUSTOMERS = 6
_ORDER_EVERY_S = 0.25  # each customer's pace: steady, and little enough for two cores
_PATIENCE_S = 3.0  # how long a customer looks at an order before asking for the basket again
_REPEAT_AFTER_S = 0.2


@dataclass
class Told:
    """What a customer was told of one attempt to order a basket."""

    sum: int
    status: str = "accepted"
    """`accepted`, then `paid` or `declined`."""


@dataclass
class Ledger:
    """What one customer did and was told."""

    user: str
    deposits: dict[str, int] = field(default_factory=dict)
    """The sum by key, of deposits that were asked for."""
    confirmed: set[str] = field(default_factory=set)
    """The keys of those that were answered 200."""
    orders: dict[tuple[str, int], Told] = field(default_factory=dict)
    """By basket and attempt, what was answered 200."""
    surprises: list[str] = field(default_factory=list)
    """Answers that this customer should never have been given."""


class Load:
    """A handful of customers ordering at a steady pace while the block runs."""

    def __init__(self, shop: Shop, seed: int = 0) -> None:
        self._shop = shop
        self._random = random.Random(seed)
        self._stopping = asyncio.Event()
        self._customers: list[asyncio.Task[None]] = []
        self.ledgers = [Ledger(new_user()) for _ in range(_CUSTOMERS)]
        self.unanswered = 0
        """Requests that were answered 5xx or not at all, and repeated."""

    async def __aenter__(self) -> Self:
        """Open the shop."""
        self._customers = [asyncio.create_task(self._order_steadily(ledger)) for ledger in self.ledgers]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it; who waits for an answer gets it, or its error."""
        self._stopping.set()
        await asyncio.gather(*self._customers)

    @property
    def outcomes(self) -> Counter[str]:
        """How many orders customers know to be accepted, paid and declined."""
        return Counter(told.status for ledger in self.ledgers for told in ledger.orders.values())

    async def sees_settled(self, more: int) -> None:
        """Wait until customers have seen so many more orders settled."""

        def settled() -> int:
            return self.outcomes["paid"] + self.outcomes["declined"]

        wanted = settled() + more

        async def enough() -> bool:
            return settled() >= wanted

        await eventually(enough, timeout_s=90)

    async def _order_steadily(self, ledger: Ledger) -> None:
        user = ledger.user
        await self._answer(ledger, lambda: self._shop.create_user(user))
        while not self._stopping.is_set():
            begun = time.monotonic()
            if self._random.random() < 0.5:  # so some orders are declined
                await self._deposit(ledger)
            await self._order(ledger)
            await self._pause(_ORDER_EVERY_S - (time.monotonic() - begun))

    async def _deposit(self, ledger: Ledger) -> None:
        key, sum_ = uuid4().hex, self._random.randint(1, 40)
        ledger.deposits[key] = sum_
        if await self._answer(ledger, lambda: self._shop.deposit(ledger.user, sum_, key)):
            ledger.confirmed.add(key)

    async def _order(self, ledger: Ledger) -> None:
        """Order the basket; what was ordered before and not answered is ordered again, for the same sum."""
        reply = await self._answer(ledger, lambda: self._shop.get_basket(ledger.user))
        if reply is None:
            return
        basket, attempt = reply.body["basket"], reply.body["attempt"]
        # The sum follows from basket and attempt, so that a repetition, whenever it comes, asks for the same.
        sum_ = random.Random(f"{basket}.{attempt}").randint(1, 30)
        reply = await self._answer(ledger, lambda: self._shop.order(ledger.user, basket, sum_, attempt))
        if reply is None:
            return
        told = ledger.orders.setdefault((basket, attempt), Told(sum_))
        if reply.body["attempt"] != attempt:
            ledger.surprises.append(f"ordered attempt {attempt} of {basket}, answered about {reply.body['attempt']}")
        given_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < given_up:
            reply = await self._answer(ledger, lambda: self._shop.get_order(ledger.user, basket))
            if reply is None:
                return
            if reply.body["message"] != "ordered":
                self._note(ledger, told, reply, basket, attempt)
                return
            await self._pause(0.05)

    def _note(self, ledger: Ledger, told: Told, reply: Reply, basket: str, attempt: int) -> None:
        status = "paid" if reply.body["message"] == "paid" else "declined"
        if reply.body["attempt"] != attempt or reply.body["sum"] != told.sum:
            ledger.surprises.append(f"attempt {attempt} of {basket} for {told.sum} became {dict(reply.body)}")
        elif told.status not in ("accepted", status):
            ledger.surprises.append(f"attempt {attempt} of {basket} was {told.status}, now {status}")
        told.status = status

    async def _answer(self, ledger: Ledger, send: Callable[[], Awaitable[Reply]]) -> Reply | None:
        """Repeat a request until it is answered; None when the shop closes before, or for an answer that is wrong."""
        while True:
            try:
                reply = await send()
            except (aiohttp.ClientError, TimeoutError):
                reply = None
            if reply is not None and reply.status == 200:
                return reply
            if reply is not None and reply.status < 500:
                ledger.surprises.append(f"{reply.status} {reply.body.get('message')}")
                return None
            self.unanswered += 1
            if self._stopping.is_set():
                return None
            await self._pause(_REPEAT_AFTER_S)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.01, seconds)):
                await self._stopping.wait()
        except TimeoutError:
            pass
