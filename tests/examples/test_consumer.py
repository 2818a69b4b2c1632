"""A team's own consumer counts each decision once, however often it is delivered and wherever it is killed."""

import asyncio
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from confluent_kafka import Producer

from local.stack import Stack
from operate.topics import Topics
from tests.support.processes import ROOT
from tests.support.stack_fixtures import eventually

Ordered = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def consuming(stack: Stack, database: Path) -> AsyncIterator[None]:
    """Run the consumer in a process of its own, and kill it at the end."""
    command = (sys.executable, "examples/consumer.py", stack.kafka_bootstrap_servers, str(database))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def sales(database: Path, user: str) -> int:
    """Return what was counted of a user."""
    with sqlite3.connect(database) as read:
        try:
            found = read.execute("SELECT sum FROM sales WHERE user = ?", (user,)).fetchone()
        except sqlite3.OperationalError:
            return 0  # the consumer has not begun
    return found[0] if found else 0


async def order(stack: Stack, user: str, amount: int) -> None:
    """Order the user's basket, and wait until it is decided."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{stack.url}/GetBasket", params={"user": user}) as response:
            basket = (await response.json())["basket"]
        fields = {"user": user, "basket": basket, "sum": amount, "attempt": 1}
        async with http.post(f"{stack.url}/Order", json=fields, headers={"Prefer": "wait=20"}) as response:
            assert (await response.json())["outcome"] == "paid"


@pytest.fixture
async def user(stack: Stack) -> str:
    """Make a user with money."""
    user = f"Olga {uuid.uuid4()}"
    async with aiohttp.ClientSession() as http:
        for path, fields in (("CreateUser", {"user": user}), ("DepositCash", {"user": user, "sum": 100})):
            async with http.post(f"{stack.url}/{path}", json=fields) as response:
                assert response.status == 200
    return user


async def test_a_decision_counts_once(stack: Stack, user: str, tmp_path: Path) -> None:
    """Brought again while the consumer runs, and while it is away; what was ordered meanwhile counts too."""
    database = tmp_path / "sales.db"
    await order(stack, user, 10)

    async def counted(total: int) -> None:
        async def is_counted() -> bool:
            return sales(database, user) >= total

        await eventually(is_counted)
        assert sales(database, user) == total

    def bring_again() -> None:
        """Write the decisions of the topic to it once more, as an emission that is repeated does."""
        producer = Producer({"bootstrap.servers": stack.kafka_bootstrap_servers})
        for record in list(Topics({"bootstrap.servers": stack.kafka_bootstrap_servers}).read(["results"])):
            producer.produce("results", record.value(), record.key(), headers=record.headers())
        assert producer.flush(10) == 0

    async with consuming(stack, database):
        await counted(10)
        await asyncio.to_thread(bring_again)
        await order(stack, user, 7)
        await counted(17)
    await asyncio.to_thread(bring_again)
    await order(stack, user, 5)
    async with consuming(stack, database):
        await counted(22)
