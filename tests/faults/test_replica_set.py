"""MongoDB fails over: what was answered stays, nothing is emitted that can roll back, nothing answered from before."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from local.settings import Settings
from shop import mongo, orders
from tests.faults.injections import ON_A_REPLICA_SET
from tests.faults.replica_set import Member, ReplicaSet
from tests.faults.rounds import play
from tests.faults.system import Document, System, running
from tests.faults.topics import PAYMENTS
from tests.faults.waiting import eventually

_SHORT = ("primary-steps-down", "primary-frozen-until-replaced")


@pytest.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Run the whole system on three mongods."""
    folder = tmp_path_factory.mktemp("replicated")
    async with ReplicaSet(folder) as replica_set:
        settings = Settings(folder=folder / "stack", port=0, mongodb_uri=replica_set.uri, kafka_port=0, sink_port=0)
        async with running(settings, replica_set) as system:
            yield system


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name in _SHORT else pytest.mark.long) for name in ON_A_REPLICA_SET]
)
async def test_on_a_replica_set_no_order_is_lost_and_none_charged_twice(replicated: System, fault: str) -> None:
    """Each order that was answered 200 outlives the fault, and is settled and notified once."""
    played = await play(replicated, ON_A_REPLICA_SET[fault])

    assert played.anomalies == []
    assert played.paid


async def test_resend_emits_nothing_that_can_roll_back(replicated: System) -> None:
    """An order that only the primary has is answered 503, is not resent, and rolls back: nobody was charged for it."""
    shop, replica_set = replicated.shop, replicated.replica_set
    assert replica_set is not None
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)

    async with replica_set.stalled() as primary:
        reply = await shop.order(user, basket, 10, attempt)
        await _make_due_on(primary, user)
        assert await replicated.tick() == 200
        assert await _status_on(primary, user) == "ordered", "the window was never open"
        with primary.frozen():
            # The others go on without what they never had.
            for member in replica_set.members:
                if member is not primary:
                    await member.stall(stalled=False)
            await replica_set.primary(other_than=primary)
    await eventually(primary.is_secondary)

    assert (reply.status, reply.headers.get("Retry-After")) == (503, "1")
    assert (await replicated.basket(basket))["status"] == "open"
    assert not replicated.topics.records(PAYMENTS, f"{basket}.1")
    assert await replicated.pay(user, 10) == basket
    assert await shop.balance(user) == 90
    assert await replicated.notified(user, 1) == [(f"{basket}.1", "paid")]


async def test_a_basket_is_never_answered_from_before_a_failover(
    replicated: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read lies in the frozen primary's socket while another one takes the order; then the old one goes on.

    The reader is cut off with the old primary, which reads before it hears of its successor. With read concern majority
    the answer was `open`: durable, and long past.
    """
    shop, replica_set = replicated.shop, replicated.replica_set
    assert replica_set is not None
    user = await shop.account(100)
    basket, _ = await shop.basket(user)
    primary = await replica_set.primary()
    others = [member.address for member in replica_set.members if member is not primary]

    async with (
        AsyncMongoClient[Document](f"mongodb://{primary.address}", directConnection=True) as cut_off,
        AsyncMongoClient[Document](f"mongodb://{','.join(others)}/?replicaSet=shop") as majority,
    ):
        monkeypatch.setattr(mongo, "_client", cut_off)
        assert (await orders.find_order(user, basket))["status"] == "open"
        with primary.frozen():
            reading = asyncio.create_task(_read_status(user, basket))
            await replica_set.primary(other_than=primary)
            baskets = majority["orders"].get_collection("baskets", write_concern=WriteConcern(w="majority", j=True))
            ordered = {"status": "ordered", "attempt": Int64(1), "sum": Int64(10)}
            await baskets.update_one({"_id": ObjectId(basket)}, {"$set": ordered})
            assert not reading.done(), "the window was never open"
        answer = await reading
    await eventually(primary.is_secondary)

    assert answer in ("unknown", "ordered")


async def _make_due_on(primary: Member, user: str) -> None:
    due = [{"$set": {"resend_at": {"$subtract": ["$$NOW", 1000]}}}]
    await primary.ask(lambda client: client["orders"]["baskets"].update_one({"user": user}, due))


async def _status_on(primary: Member, user: str) -> str:
    """Return the basket's status as the primary has it, durable or not."""
    stored = await primary.ask(lambda client: client["orders"]["baskets"].find_one({"user": user}))
    assert stored is not None
    return str(stored["status"])


async def _read_status(user: str, basket: str) -> str:
    try:
        with mongo.deadline(25):  # the freeze and an election fit
            return str((await orders.find_order(user, basket))["status"])
    except PyMongoError:  # the edge answers 503
        return "unknown"
