"""`orders status` and the metrics name the right cause of each fault of a running shop, and nothing when it is over."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer

from local.servers import services
from local.servers.parts import spawn
from local.stack import KAFKA, KAFKA_SOURCE, Stack
from operate.metrics import exposition
from operate.places import CONSUMERS
from tests.operate.command import Orders
from tests.operate.conftest import Customer, poison
from tests.support.stack_fixtures import eventually

VISIBLE_S = 90
"""How soon a fault must be visible; most are at once."""


async def named(orders: Orders, cause: str, about: str | None, within_s: float = VISIBLE_S) -> str:
    """Return what `orders status` says of a cause, once it does, with exit code 1; the metrics count it too."""
    said: list[str] = []

    async def seen() -> bool:
        run = await orders("status", "--json")
        found: dict[str, Any] = run.json
        said[:] = [each["says"] for each in found["troubles"] if (each["cause"], each["about"]) == (cause, about)]
        assert run.code == (1 if found["troubles"] else 0)
        return bool(said)

    await eventually(seen, within_s)
    with orders.shop().watch() as watch:
        text = exposition(await asyncio.to_thread(watch.look))
    assert f'shop_trouble{{cause="{cause}"}} 0' not in text
    return said[0]


async def over(orders: Orders, cause: str, about: str | None) -> None:
    """Wait until a cause is gone."""

    async def gone() -> bool:
        troubles = (await orders("status", "--json")).json["troubles"]
        return (cause, about) not in [(each["cause"], each["about"]) for each in troubles]

    await eventually(gone, VISIBLE_S)


@asynccontextmanager
async def part(stack: Stack, name: str, do: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Have a part stopped, and whatever is done meanwhile in its place; it runs again afterwards."""
    await stack.stop_part(name)
    try:
        await do()
        yield
    finally:
        await stack.start_part(name)


async def nothing() -> None:
    """Put nothing in a part's place."""


async def test_a_frozen_function_is_named(stack: Stack, orders: Orders) -> None:
    """Its process is there and its port is open; it only does not answer."""
    os.kill(stack.pid("billing-handler"), signal.SIGSTOP)
    try:
        said = await named(orders, "no_answer", "billing-handler")
    finally:
        os.kill(stack.pid("billing-handler"), signal.SIGCONT)
    assert "does not answer GET /healthz within" in said
    assert "it is frozen" in said
    await over(orders, "no_answer", "billing-handler")


async def test_a_kafka_source_that_is_absent_is_named(stack: Stack, orders: Orders) -> None:
    """Its group has no member: seen before the first order waits."""
    async with part(stack, KAFKA_SOURCE, nothing):
        said = await named(orders, "no_member", "order-handler")
    assert "its KafkaSource is absent or not ready" in said
    await over(orders, "no_member", "order-handler")


async def test_webhooks_are_looked_at_where_they_are_deployed(stack: Stack, orders: Orders) -> None:
    """By their group, as soon as it has a member, and no longer."""
    assert (await orders("status", "--json")).json["groups"].keys() == CONSUMERS.keys()
    config = {"bootstrap.servers": stack.kafka_bootstrap_servers, "group.id": "webhook-handler"}
    source = Consumer({**config, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    source.subscribe(["results"])

    async def joined() -> bool:
        await asyncio.to_thread(source.poll, 0.1)
        found = (await orders("status", "--json")).json["groups"]
        return bool(found.get("webhook-handler", {}).get("members") == 1)

    try:
        await eventually(joined, VISIBLE_S)
    finally:
        await asyncio.to_thread(source.close)
    assert "webhook-handler" not in (await orders("status", "--json")).json["groups"]


async def test_a_wrong_database_is_named(stack: Stack, orders: Orders) -> None:
    """By the function that was given it, as its readiness says."""
    port = stack.function_url("notify-handler").rpartition(":")[2]
    environment = {
        **services.base_environment(),
        "HOST": "127.0.0.1",
        "PORT": port,
        "FUNCTION_TARGET": "notify_handler",
        "MONGODB_URI": stack.mongodb_uri,
        "NOTIFY_DATABASE": "nowhere",
    }
    started: list[asyncio.subprocess.Process] = []

    async def misled() -> None:
        command = [sys.executable, "-m", "shop.serve", "misled"]
        started.append(await spawn(command, stack.log_file("misled"), environment))

    async with part(stack, "notify-handler", misled):
        said = await named(orders, "not_ready", "notify-handler")
        (process,) = started
        process.terminate()
        await process.wait()
    assert "answers 503 to GET /healthz: nowhere is not set up: it has no index notifications." in said
    await over(orders, "not_ready", "notify-handler")


async def test_a_poison_event_is_named_with_its_reason(stack: Stack, orders: Orders, customer: Customer) -> None:
    """As a dead letter, with the code and the words of the function that refused it."""
    await poison(stack, customer.user)
    said = await named(orders, "dead_letters", "billing-handler")
    assert "billing-handler refused with wrong_event" in said
    assert "it was edited" in said
    assert (await orders("dlq", "park", "--reason", "a test", "--where", "id=edited.1")).code == 0
    await over(orders, "dead_letters", "billing-handler")


async def test_kafka_that_is_away_is_named_and_the_rest_is_told(stack: Stack, orders: Orders) -> None:
    """What MongoDB knows is told all the same."""
    elsewhere = Orders({"MONGODB_URI": stack.mongodb_uri, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    run = await elsewhere("status", "--json")
    assert (run.code, [each["cause"] for each in run.json["troubles"]]) == (1, ["kafka_away"])
    assert "127.0.0.1:1" in run.json["troubles"][0]["says"]
    assert run.json["groups"] is None
    assert run.json["undecided"] == 0
    assert "kafka_away" in (await elsewhere("status")).out


@pytest.mark.long
async def test_kafka_that_was_stopped_is_named(stack: Stack, orders: Orders) -> None:
    """And is over when it is back."""
    async with part(stack, KAFKA, nothing):
        assert "Kafka does not answer" in await named(orders, "kafka_away", None)
    await over(orders, "kafka_away", None)


async def test_a_shop_that_is_fine_says_so_in_a_terminal(orders: Orders, customer: Customer) -> None:
    """With what it has looked at, and exit code 0."""
    await customer.deposit(10)
    await customer.order(10)

    # Of other tests on this stack.
    assert (await orders("dlq", "park", "--reason", "left over")).code == 0
    said: list[str] = []

    async def fine() -> bool:
        run = await orders("status")
        said[:] = [run.out]
        return run.code == 0

    with contextlib.suppress(TimeoutError):
        await eventually(fine, VISIBLE_S)
    assert said[0].splitlines()[-1].startswith("OK; "), said[0]
    out = (await orders("status")).out
    assert "billing-handler" in out
    assert "; 1 member\n" in out
    assert out.splitlines()[-1].startswith("OK; ")
    await orders("verify", "--older-than", "0s")  # of the whole stack: other tests may have left a problem
    assert re.search(r"^verified +\d+ problems? at ", (await orders("status")).out, re.MULTILINE)
