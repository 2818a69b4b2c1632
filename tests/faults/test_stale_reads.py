"""A primary that was replaced without knowing it answers nothing from before."""

import asyncio

import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from shop import mongo, orders
from tests.faults.system import Document, System
from tests.faults.test_replica_set import replicated as replicated
from tests.faults.waiting import eventually

pytestmark = pytest.mark.timeout(240)


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
            reading = asyncio.create_task(_status(user, basket))
            await replica_set.primary(other_than=primary)
            baskets = majority["orders"].get_collection("baskets", write_concern=WriteConcern(w="majority", j=True))
            ordered = {"status": "ordered", "attempt": Int64(1), "sum": Int64(10)}
            await baskets.update_one({"_id": ObjectId(basket)}, {"$set": ordered})
            assert not reading.done(), "the window was never open"
        answer = await reading
    await eventually(primary.is_secondary)

    assert answer in ("unknown", "ordered")


async def _status(user: str, basket: str) -> str:
    try:
        with mongo.deadline(25):  # the freeze and an election fit
            return str((await orders.find_order(user, basket))["status"])
    except PyMongoError:  # the edge answers 503
        return "unknown"
