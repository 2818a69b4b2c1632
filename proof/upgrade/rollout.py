"""A load on functions of two versions at once: customers who repeat themselves, and events that come again and again.

Each request and each delivery goes to either version, its repetitions to the other one too, often at the same time.
What is not answered, or answered 503, is repeated. Nothing may be refused.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

import aiohttp

from proof.upgrade.kept import Emitted
from proof.upgrade.served import Answer, Functions
from tests.support.functions import consumers

_CUSTOMERS = 6
_REPEATED = 0.5
_AGAIN = 0.2  # of the deliveries are of events long past
_PAUSE_S = 0.05
_PATIENCE = 200  # repetitions of what is not answered: ten seconds and more


@dataclass
class Told:
    """What a customer did and was told."""

    user: str
    keyed: dict[str, int] = field(default_factory=dict)
    keyless: Counter[int] = field(default_factory=Counter)
    orders: int = 0


class Load:
    """Customers and deliveries, while the block runs."""

    def __init__(self, serving: list[Functions], seed: int) -> None:
        """Take the versions; what runs of each may change at any time."""
        self.serving = serving
        self.told = [Told(f"Павел {number}") for number in range(_CUSTOMERS)]
        self.answered: dict[Functions, Counter[str]] = {each: Counter() for each in serving}
        """How often each version's functions answered 200."""

        self.refused: list[str] = []
        self.history: list[Emitted] = []
        self._random = random.Random(seed)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._deliveries: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Open the shop."""
        work: list[Coroutine[Any, Any, None]] = [self._customer(told) for told in self.told]
        self._tasks = [asyncio.create_task(each) for each in (*work, self._source())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it, and return once nothing is on its way."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    # --- customers ---

    async def _customer(self, told: Told) -> None:
        user = told.user
        await self._ask("create_user", "POST", "/CreateUser", {"user": user})
        while not self._stopping.is_set():
            if self._random.random() < 0.5:
                key, sum_ = str(UUID(int=self._random.getrandbits(128))), self._random.randint(1, 60)
                told.keyed[key] = sum_
                headers = {"Idempotency-Key": key}
                await self._ask("deposit_cash", "POST", "/DepositCash", {"user": user, "sum": sum_}, headers)
            elif self._random.random() < 0.3:
                await self._deposit_without_key(told)
            if told.keyed and self._random.random() < 0.5:  # an old key once more
                key = self._random.choice(list(told.keyed))
                fields = {"user": user, "sum": told.keyed[key]}
                await self._ask("deposit_cash", "POST", "/DepositCash", fields, {"Idempotency-Key": key})
            await self._order(told)

    async def _deposit_without_key(self, told: Told) -> None:
        """Once: who does not know whether it was made must not repeat it."""
        fields = {"user": told.user, "sum": self._random.randint(1, 9)}
        functions = self._random.choice(self.serving)
        try:
            answer = await functions.call("deposit_cash", "POST", "/DepositCash", fields)
        except (aiohttp.ClientError, KeyError):
            answer = None
        told.keyless["made" if answer is not None and answer.status == 200 else "unknown"] += 1

    async def _order(self, told: Told) -> None:
        answer = await self._ask("get_basket", "GET", "/GetBasket", {"user": told.user})
        if answer is None or answer.json["order_status"] == "ordered":
            await asyncio.sleep(_PAUSE_S)
            return
        basket, attempt = answer.json["basket"], answer.json["attempt"]
        # Made of basket and attempt, so that any repetition asks for the same.
        sum_ = random.Random(f"{basket}.{attempt}").randint(1, 40)
        order = {"user": told.user, "basket": basket, "attempt": attempt, "sum": sum_}
        await self._ask("create_order", "POST", "/Order", order)
        told.orders += 1

    async def _ask(
        self, function: str, method: str, path: str, fields: dict[str, Any], headers: dict[str, str] | None = None
    ) -> Answer | None:
        """Send a request until it is answered, and often to another function at the same time."""
        times = 3 if self._random.random() < _REPEATED else 1

        async def ask() -> Answer | None:
            return await self._until_done(function, lambda to: to.call(function, method, path, fields, headers))

        first, *_ = await asyncio.gather(*(ask() for _ in range(times)))
        return first

    # --- events ---

    async def _source(self) -> None:
        """Deliver what comes to the sink, as a KafkaSource would that repeats more than any."""
        while not self._stopping.is_set() or self._tasks_of_customers_run() or self._deliveries:
            new = self.serving[0].emitted()
            self.history += new
            for event in new:
                self._deliver(event, self._random.randint(1, 3))
                if self._random.random() < _AGAIN:
                    self._deliver(self._random.choice(self.history), 2)
            await asyncio.sleep(0.01)

    def _tasks_of_customers_run(self) -> bool:
        return any(not task.done() for task in self._tasks[:_CUSTOMERS])

    def _deliver(self, event: Emitted, times: int) -> None:
        headers, data = event

        async def deliver(function: str, after_s: float) -> None:
            await asyncio.sleep(after_s)
            await self._until_done(function, lambda to: to.deliver(function, headers, data))

        for function in consumers(headers["ce-type"]):
            for _ in range(times):
                after_s = self._random.choice((0, 0, 0.02, 0.3))
                task = asyncio.create_task(deliver(function, after_s))
                self._deliveries.add(task)
                task.add_done_callback(self._deliveries.discard)

    async def _until_done(self, function: str, send: Any) -> Answer | None:
        for _ in range(_PATIENCE):
            to = self._random.choice(self.serving)
            try:
                answer: Answer = await send(to)
            except (aiohttp.ClientError, KeyError):  # it ended, or does not serve this yet
                await asyncio.sleep(_PAUSE_S)
                continue
            if answer.status == 200:
                self.answered[to][function] += 1
                return answer
            if answer.status != 503:
                self.refused.append(f"{function}: {answer.status} {answer.body}")
                return None
            await asyncio.sleep(_PAUSE_S)
        self.refused.append(f"{function}: never answered")
        return None
