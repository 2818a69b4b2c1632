"""shop.setup makes the collections that the protocol rests on."""

import asyncio

import pytest
from bson import Int64, ObjectId
from pymongo.errors import DuplicateKeyError, WriteError

from shop import mongo
from shop.setup import setup


async def test_setup_can_run_again_at_any_time(shop: None) -> None:
    """A second run, and two at once, find everything there and fail nothing."""
    await setup()
    await asyncio.gather(setup(), setup())


async def test_two_baskets_of_one_number_cannot_be(shop: None) -> None:
    """The unique index refuses the second one, whoever writes it."""
    baskets = mongo.collection("orders", "baskets")
    basket = {"user": "Pavel", "number": Int64(1), "status": "open", "attempt": Int64(0)}
    await baskets.insert_one(dict(basket))
    with pytest.raises(DuplicateKeyError):
        await baskets.insert_one(dict(basket))


@pytest.mark.parametrize("balance", [Int64(-1), 1.5, "10", 10])
async def test_a_balance_is_an_int64_and_never_negative(shop: None, balance: object) -> None:
    """The validator refuses a negative balance, and one that some code stored as another type."""
    with pytest.raises(WriteError):
        await mongo.collection("billing", "users").insert_one({"_id": "Pavel", "balance": balance})


async def test_an_unknown_status_is_refused(shop: None) -> None:
    """The validator knows the three statuses."""
    with pytest.raises(WriteError):
        await mongo.collection("orders", "baskets").insert_one(
            {"_id": ObjectId(), "user": "Pavel", "number": Int64(1), "status": "shipped", "attempt": Int64(0)}
        )
