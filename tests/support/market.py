"""A shop whose functions run in this process: what they emit is delivered when a test says so, and kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.functions.conftest import Client
from tests.support.asgi import Answer, call
from tests.support.functions import consumers
from tests.support.sink import Received

USER = "Pavel"


@dataclass
class Letter:
    """An event that a consumer refused for good."""

    consumer: str
    id: str
    reason: str


@dataclass
class Market:
    """A shop with one customer, and all that was ever emitted in it."""

    client: Client
    emitted: list[Received] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    async def deliver(self) -> None:
        """Bring what was emitted to its consumers, and what they emit, until nothing is on its way."""
        while self.client.sink.received:
            event = self.client.sink.received.pop(0)
            self.emitted.append(event)
            await self.bring(event)

    async def bring(self, event: Received) -> list[Answer]:
        """Deliver one event to its consumers; what one of them refuses goes to the dead letters."""
        answers = []
        for consumer in consumers(event.header("ce-type") or ""):
            answer = await call(consumer, headers=event.headers, body=event.body)
            if answer.status == 422:
                self.letters.append(Letter(consumer, event.header("ce-id") or "", answer.text))
            else:
                assert answer.status == 200, answer.text
            answers.append(answer)
        return answers

    async def order(self, sum_: int, *, user: str = USER) -> str:
        """Order the user's basket as GetBasket says, and return it; nothing is delivered yet."""
        answer = await self.client.get("/GetBasket", {"user": user})
        basket, attempt = answer.json["basket"], answer.json["attempt"]
        order = {"user": user, "sum": sum_, "basket": basket, "attempt": attempt}
        assert (await self.client.post("/Order", order)).status == 200
        return str(basket)

    async def settle(self, sum_: int, *, user: str = USER) -> str:
        """Order the basket, deliver everything, and return the basket."""
        basket = await self.order(sum_, user=user)
        await self.deliver()
        return basket

    async def deposit(self, sum_: int, key: str, *, user: str = USER) -> None:
        """Pay in, under a key."""
        answer = await self.client.post("/DepositCash", {"user": user, "sum": sum_}, Idempotency_Key=key)
        assert answer.status == 200, answer.text

    async def status(self, basket: str, *, user: str = USER) -> str:
        """Return what GetOrder says of a basket."""
        return (await self.client.get("/GetOrder", {"user": user, "basket": basket})).message

    async def resend(self) -> None:
        """Let resend_orders tick, and deliver what it asks for."""
        assert (await call("resend_orders")).status == 200
        await self.deliver()

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[list[Received]]:
        """Deliver what comes to the sink while the block runs; the list has what that was once the block is over."""
        before, over = len(self.emitted), asyncio.Event()
        delivered: list[Received] = []

        async def deliver() -> None:
            while not over.is_set():
                await self.deliver()
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            group.create_task(deliver())
            try:
                yield delivered
            finally:
                over.set()
        delivered += self.emitted[before:]
