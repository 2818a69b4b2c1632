"""Whatever leads to an answer is durable and bounded, whatever the connection string says."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from bson import Int64
from pymongo.errors import PyMongoError

from shop import billing, notifications, orders
from shop.archive import DEPOSITS, PAID_BASKETS
from shop.errors import Code, Contradiction, NotFound, Unavailable
from shop.process.settings import ArrayLimits
from shop.schema.events_pb2 import DECLINED, PaymentDecided, PaymentRequested
from shop.schema.orders_pb2 import OrderRequest
from shop.store.change import update
from shop.store.client import DEADLINE_S, Document, collection, deadline
from shop.store.pipeline import Pipeline
from tests.support.commands import counted
from tests.support.meeting import meeting

pytestmark = pytest.mark.usefixtures("shop")

_NOTHING: Pipeline = [{"$set": {"balance": "$balance"}}]

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
REQUESTED = PaymentRequested(user="Pavel", basket="a" * 24, number=1, attempt=1, sum=10, ordered_at=NOW)
DECIDED = PaymentDecided(
    user="Pavel", basket="a" * 24, number=1, attempt=1, sum=10, outcome=DECLINED, reason="why", decided_at=NOW
)


async def order() -> None:
    basket = await orders.current_basket("Pavel")
    event = (await orders.place(OrderRequest(user="Pavel", basket=str(basket["_id"]), sum=10))).event
    assert event is not None
    await orders.settle(PaymentDecided(basket=event.basket, user="Pavel", attempt=1, sum=10, decided_at=NOW))
    await orders.claim_due()


async def pay() -> None:
    await billing.create_user("Pavel")
    deposited = await billing.credit("Pavel", 10, "key")
    decision = await billing.decide(REQUESTED)
    await DEPOSITS.bound(deposited.account)
    await PAID_BASKETS.bound(decision.account)
    await billing.find_account("Pavel")


async def notify() -> None:
    await notifications.record(DECIDED)
    await notifications.latest("Pavel")


async def read_account() -> Document:
    return await billing.find_account("Pavel")


@pytest.mark.parametrize("work", [order, pay, notify])
async def test_no_connection_string_can_weaken_what_an_answer_rests_on(
    mongod, work: Callable[[], Awaitable[None]], configure: Callable[..., None]
) -> None:
    """Every write is majority and journaled, every read majority from the primary, every command bounded in time."""
    configure(array_limits=ArrayLimits(1, 1))  # so that archives are written too
    weak = "&w=1&journal=false&readConcernLevel=local&readPreference=secondaryPreferred&timeoutMS=0"
    async with counted(mongod.uri + weak) as commands:
        with deadline():
            await work()
    assert commands.sent
    for command in commands.sent:
        if "find" in command:
            assert command["readConcern"]["level"] in ("majority", "linearizable")
            assert command.get("$readPreference", {"mode": "primary"})["mode"] == "primary"
        else:
            assert command["writeConcern"] == {"w": "majority", "j": True}
        assert 0 < command["maxTimeMS"] <= DEADLINE_S * 1000


@pytest.mark.parametrize(
    "read", [lambda: orders.current_basket("Pavel"), lambda: orders.find_order("Pavel", "a" * 24), read_account]
)
async def test_what_is_an_answer_by_itself_is_read_linearizably(read: Callable[[], Awaitable[object]]) -> None:
    """A basket and an account are never answered from before a failover."""
    await orders.current_basket("Pavel")  # who asks for one that is not there is given a new one, which nobody reads
    async with counted() as commands:
        with contextlib.suppress(NotFound):
            await read()
    assert commands.sent[-1]["readConcern"] == {"level": "linearizable"}


class TestRefusal:
    """An update that refuses has changed nothing, so it may rest on what a replaced primary had."""

    async def test_it_rests_on_the_latest_state(self) -> None:
        """A refusal is confirmed by one linearizable read; what succeeds needs none."""
        basket = str((await orders.current_basket("Pavel"))["_id"])
        async with counted() as commands:
            with pytest.raises(Contradiction):
                await orders.place(OrderRequest(user="Pavel", basket=basket, sum=10, attempt=7))
            await orders.place(OrderRequest(user="Pavel", basket=basket, sum=10, attempt=1))
        assert commands.names == ["findAndModify", "findAndModify", "find", "findAndModify"]
        assert commands.sent[2]["readConcern"] == {"level": "linearizable"}

    async def test_what_changed_meanwhile_is_looked_at_again(self) -> None:
        """The account gets its balance after it was looked at: nothing is refused."""
        await collection("billing", "users").insert_one({"_id": "Pavel"})

        def read(stored: Document | None) -> int:
            if stored is None or "balance" not in stored:
                raise NotFound(Code.UNKNOWN_USER, "refused")
            return int(stored["balance"])

        with meeting("users.find_one", one_more) as looks:
            assert await update(collection("billing", "users"), {"_id": "Pavel"}, _NOTHING, read) == 1
        assert looks.times == 1

    async def test_what_never_holds_still_is_tried_again_later(self) -> None:
        """It ends, and is no refusal."""
        await collection("billing", "users").insert_one({"_id": "Pavel"})

        def refuse(_: Document | None) -> None:
            raise NotFound(Code.UNKNOWN_USER, "refused")

        with meeting("users.find_one", one_more), pytest.raises(Unavailable):
            await update(collection("billing", "users"), {"_id": "Pavel"}, _NOTHING, refuse)


async def one_more() -> None:
    """Write to the account, just before it is looked at."""
    await collection("billing", "users").update_one({"_id": "Pavel"}, {"$inc": {"balance": Int64(1)}})


async def test_a_deadline_bounds_all_calls_together(mongod, configure: Callable[..., None]) -> None:
    """Nobody answers: the call ends when the deadline does, not after the driver's thirty seconds."""
    configure(mongodb_uri="mongodb://127.0.0.1:1/?directConnection=true")
    begun = asyncio.get_running_loop().time()
    with pytest.raises((PyMongoError, TimeoutError)), deadline(0.3):
        await orders.current_basket("Pavel")
    assert asyncio.get_running_loop().time() - begun < 5
