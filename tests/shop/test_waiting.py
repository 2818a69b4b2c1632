"""All who wait for the outcome of an order share one look at MongoDB per tick; nobody looks when nobody waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from bson import Int64, ObjectId
from pymongo.errors import AutoReconnect

from shop import orders, waiting
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided
from shop.schema.orders_pb2 import OrderRequest
from shop.store.client import Document, collection
from shop.waiting import LONGEST_TICK_S, LOOKS_A_WAIT, SHORTEST_TICK_S
from tests.support.commands import counted
from tests.support.meeting import meeting

pytestmark = pytest.mark.usefixtures("shop", "nobody_waits")


@pytest.fixture
async def nobody_waits(configure: Callable[..., None]) -> AsyncIterator[None]:
    """Begin in a process in which nobody waits yet."""
    configure()
    yield
    await waiting.everybody().close()


async def ordered(user: str = "Pavel") -> ObjectId:
    """Order the user's basket."""
    basket = await orders.current_basket(user)
    await orders.place(OrderRequest(user=user, basket=str(basket["_id"]), sum=10))
    return basket["_id"]


async def decide(basket: ObjectId, user: str = "Pavel", attempt: int = 1, outcome: int = PAID) -> None:
    """Settle an attempt."""
    await orders.settle(PaymentDecided(user=user, basket=str(basket), attempt=attempt, sum=10, outcome=outcome))


def wait(basket: ObjectId, user: str = "Pavel", attempt: int = 1) -> asyncio.Task[Document]:
    """Begin to wait for an attempt."""
    return asyncio.create_task(waiting.decided(user, basket, attempt))


async def soon(task: asyncio.Task[Document]) -> Document:
    """Return what was waited for."""
    async with asyncio.timeout(10):
        return await task


@pytest.mark.parametrize(("outcome", "status"), [(PAID, "paid"), (DECLINED, "open")])
async def test_a_wait_ends_when_the_attempt_is_decided(outcome: int, status: str) -> None:
    """Not before, and whichever way it was decided."""
    basket = await ordered()
    waits = wait(basket)
    await asyncio.sleep(2 * LONGEST_TICK_S)
    assert not waits.done()
    await decide(basket, outcome=outcome)
    assert (await soon(waits))["status"] == status


async def test_a_hundred_who_wait_cost_one_query_a_tick() -> None:
    """Of a hundred users and baskets; it reads with majority, which is enough for what is final."""
    baskets = {f"Pavel {each}": await ordered(f"Pavel {each}") for each in range(100)}
    async with counted() as commands:
        began = time.monotonic()
        all_wait = [wait(basket, user) for user, basket in baskets.items()]
        await asyncio.sleep(0)
        tick_s = waiting.everybody().tick_s
        await asyncio.sleep(5 * LONGEST_TICK_S)
        assert 1 <= len(commands.names) <= (time.monotonic() - began) / tick_s
        for user, basket in baskets.items():
            await decide(basket, user)
        assert [(await soon(each))["user"] for each in all_wait] == list(baskets)
        await waiting.everybody().close()
    finds = [command for command in commands.sent if "find" in command]
    assert {command["readConcern"]["level"] for command in finds} == {"majority"}
    assert all(0 < command["maxTimeMS"] <= 2000 for command in finds)
    assert len(finds[0]["filter"]["_id"]["$in"]) == 100


async def test_what_is_not_decided_is_not_read_again_and_again() -> None:
    """A look brings only what changed, whatever the attempt is."""
    basket = await ordered()
    await decide(basket, outcome=DECLINED)
    await ordered()
    async with counted() as commands:
        waits = wait(basket, attempt=2)
        await asyncio.sleep(LONGEST_TICK_S)
        query = next(command["filter"] for command in commands.sent if "find" in command)
        assert await collection("orders", "baskets").find(query).to_list() == []
        waits.cancel()
        await waiting.everybody().close()


async def test_nobody_looks_when_nobody_waits() -> None:
    """Neither before the first wait nor after the last; a client that gave up waits no more."""
    basket = await ordered()
    async with counted() as commands:
        waits, gives_up = wait(basket), wait(await ordered("Olga"), "Olga")
        await asyncio.sleep(2 * LONGEST_TICK_S)
        gives_up.cancel()
        await decide(basket)
        await soon(waits)
        await asyncio.sleep(2 * LONGEST_TICK_S)
        looks = commands.names.count("find")
        await asyncio.sleep(4 * LONGEST_TICK_S)
        assert commands.names.count("find") == looks
        assert "_look" not in {getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks()}


async def test_who_comes_during_a_look_is_looked_for_by_the_next() -> None:
    """And somebody looks again after a time without anybody."""
    for user in ("Pavel", "Olga", "Павел"):
        basket = await ordered(user)
        waits = wait(basket, user)
        await decide(basket, user)
        assert (await soon(waits))["user"] == user
        await asyncio.sleep(0.01 if user == "Pavel" else 2 * LONGEST_TICK_S)


async def test_an_attempt_is_decided_when_there_is_a_later_one() -> None:
    """Attempt 2 exists only after attempt 1 was declined, and nobody looked in between."""
    basket = await ordered()
    await decide(basket, outcome=DECLINED)
    await ordered()
    found = await soon(wait(basket))
    assert (found["attempt"], found["status"]) == (2, "ordered")


async def test_who_waits_for_other_attempts_is_told_of_their_own() -> None:
    """Pavel's first attempt is declined, his second is on its way, and so is Olga's first."""
    pavels, olgas = await ordered(), await ordered("Olga")
    await decide(pavels, outcome=DECLINED)
    await ordered()
    others = [wait(pavels, attempt=2), wait(olgas, "Olga")]
    assert (await soon(wait(pavels)))["attempt"] == 2
    await asyncio.sleep(2 * LONGEST_TICK_S)
    assert not any(each.done() for each in others)
    others[1].cancel()
    await decide(pavels, attempt=2)
    assert (await soon(others[0]))["status"] == "paid"


async def test_an_earlier_state_decides_nothing() -> None:
    """A primary that was replaced may show the basket as it was: open, for the attempt before was declined."""
    basket = await ordered()
    await decide(basket, outcome=DECLINED)
    before = await orders.find_order("Pavel", str(basket))
    await ordered()
    now = await orders.find_order("Pavel", str(basket))
    baskets = collection("orders", "baskets")
    await baskets.replace_one({"_id": basket}, before)
    waits = wait(basket, attempt=2)
    await asyncio.sleep(3 * LONGEST_TICK_S)
    assert not waits.done()
    await baskets.replace_one({"_id": basket}, now)
    await decide(basket, attempt=2)
    assert (await soon(waits))["status"] == "paid"


async def test_while_mongodb_fails_everybody_goes_on_waiting() -> None:
    """A look that fails is followed by the next one."""
    basket = await ordered()

    async def fail() -> None:
        if looks.times < 4:
            raise AutoReconnect("no primary")

    with meeting("baskets.find", fail) as looks:
        waits = wait(basket)
        await decide(basket)
        assert (await soon(waits))["status"] == "paid"
        await waiting.everybody().close()
    assert looks.times == 4


async def test_when_the_process_ends_nobody_waits_any_longer() -> None:
    """Whoever waits is told at once, and so is who comes later."""
    waits = wait(await ordered())
    await asyncio.sleep(0)
    waiting.everybody().end()
    for each in (waits, wait(await ordered())):
        with pytest.raises(asyncio.CancelledError):
            await soon(each)


async def test_the_tick_follows_the_usual_wait() -> None:
    """A fifth of it, within its bounds: looks that find nothing are rare, and no outcome is late by much.

    While nothing is decided for long, as in an outage, looks are as rare as they may be.
    """
    all_wait = waiting.everybody()
    basket = ObjectId()
    for _ in range(50):
        waits = wait(basket)
        await asyncio.sleep(0)
        waits.cancel()
    await asyncio.sleep(0)
    assert all_wait.tick_s <= 3 * SHORTEST_TICK_S
    waits = wait(basket)
    await asyncio.sleep(2 * LONGEST_TICK_S * LOOKS_A_WAIT)
    assert all_wait.tick_s == LONGEST_TICK_S
    waits.cancel()
    waits = wait(basket)
    await asyncio.sleep(0)
    assert SHORTEST_TICK_S < all_wait.tick_s <= LONGEST_TICK_S / 4


async def test_nobody_looks_before_an_outcome_can_be_there() -> None:
    """Of the usual wait of 0.1 s more than half passes before the first look; from then on a look is a tick away."""
    waits = wait(await ordered())
    await asyncio.sleep(0)
    all_wait = waiting.everybody()
    assert 2 * all_wait.tick_s < all_wait.next_look_s <= LONGEST_TICK_S
    await asyncio.sleep(LONGEST_TICK_S)
    later = wait(await ordered("Olga"), "Olga")
    await asyncio.sleep(0)
    assert all_wait.next_look_s == all_wait.tick_s  # who came first has waited long
    for each in (waits, later):
        each.cancel()


async def test_a_basket_on_an_attempt_beyond_int32_is_waited_for() -> None:
    """Attempts are int64 in what is asked for, too."""
    basket = await ordered()
    await collection("orders", "baskets").update_one({"_id": basket}, {"$set": {"attempt": Int64(2**40)}})
    waits = wait(basket, attempt=2**40)
    await decide(basket, attempt=2**40)
    assert (await soon(waits))["attempt"] == 2**40
