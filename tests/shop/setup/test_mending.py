"""`--mend` removes the duplicates that nobody can have been charged for, and nothing else, while functions run."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from bson import Int64, ObjectId
from pymongo.errors import PyMongoError

from shop import orders
from shop.errors import NotFound
from shop.schema.orders_pb2 import OrderRequest
from shop.setup import mend, setup
from shop.setup.making import NotSetUp
from shop.store import readiness
from shop.store.client import collection
from tests.support.meeting import meeting

pytestmark = pytest.mark.usefixtures("empty")

AT = datetime(2026, 11, 26, 20, tzinfo=UTC)


async def insert(status: str = "open", attempt: int = 0, *, user: str = "Pavel", number: int = 1) -> ObjectId:
    """Make a basket, whatever else there is."""
    basket = {"_id": ObjectId(), "user": user, "number": Int64(number), "status": status, "attempt": Int64(attempt)}
    await collection("orders", "baskets").insert_one(basket)
    return basket["_id"]


async def left(user: str = "Pavel") -> list[ObjectId]:
    """Return the ids of a user's baskets."""
    return [basket["_id"] for basket in await collection("orders", "baskets").find({"user": user}).to_list()]


async def test_of_baskets_that_were_never_ordered_the_first_stays() -> None:
    """Then the unique index can be made; other numbers and users are left alone."""
    first = await insert()
    for _ in range(10):
        await insert()
    second, other = await insert(number=2), await insert(user="Olga")
    assert await mend() == []
    assert await left() == [first, second]
    assert await left("Olga") == [other]
    await setup()
    assert await readiness.problem("orders", 5) is None


@pytest.mark.parametrize(
    ("status", "attempt"), [("open", 1), ("ordered", 1), ("ordered", 3), ("paid", 1), ("paid", 0), ("ordered", 0)]
)
async def test_the_one_that_was_ordered_stays(status: str, attempt: int) -> None:
    """Declined, on its way or paid: whoever ordered it may ask about it, or have been charged."""
    await insert()
    ordered = await insert(status, attempt)
    await insert()
    assert await mend() == []
    assert await left() == [ordered]


@pytest.mark.parametrize("one", [("open", 1), ("ordered", 1), ("paid", 1)])
@pytest.mark.parametrize("other", [("open", 2), ("ordered", 1), ("paid", 1)])
async def test_two_that_were_ordered_are_for_somebody_to_decide(one: tuple[str, int], other: tuple[str, int]) -> None:
    """Both stay, named; those beside them that were not go."""
    both = [await insert(*one), await insert(*other)]
    await insert()
    (told,) = await mend()
    assert await left() == both
    assert told == (
        f"orders.baskets: user Pavel, number 1: {both[0]} (status {one[0]}, attempt {one[1]}), "
        f"{both[1]} (status {other[0]}, attempt {other[1]})"
    )


PAID = {"number": Int64(1), "attempt": Int64(1), "sum": Int64(10)}


@pytest.mark.parametrize("where", ["paid_baskets", "declined", "archive"])
async def test_one_that_billing_has_decided_about_stays(where: str) -> None:
    """It was ordered before orders was restored; the money hangs on it though it looks new."""
    new, charged = await insert(), await insert()
    users = collection("billing", "users")
    if where == "paid_baskets":
        await users.insert_one({"_id": "Pavel", "paid_baskets": [{**PAID, "basket": charged}]})
    elif where == "declined":
        await users.insert_one({"_id": "Pavel", "declined": {**PAID, "basket": charged}})
    else:
        await collection("billing", "paid_baskets").insert_one({"user": "Pavel", **PAID, "basket": charged})
    assert await mend() == []
    assert await left() == [charged]
    assert new not in await left()


async def test_what_another_user_was_charged_for_does_not_count() -> None:
    """Billing is asked about this user."""
    first, second = await insert(), await insert()
    await collection("billing", "users").insert_one({"_id": "Olga", "paid_baskets": [{**PAID, "basket": second}]})
    assert await mend() == []
    assert await left() == [first]


async def test_without_billing_nothing_is_removed(configure: Callable[..., None]) -> None:
    """Whether money hangs on a basket is unknown then."""
    both = [await insert(), await insert()]
    configure(mongodb_uris={"billing": "mongodb://127.0.0.1:9/?directConnection=true&serverSelectionTimeoutMS=200"})
    with pytest.raises(PyMongoError, match=r"127\.0\.0\.1:9"):
        await mend()
    assert await left() == both


async def test_a_basket_that_is_ordered_between_the_look_and_the_removal_stays() -> None:
    """The removal is conditional; the next look then removes the other one."""
    first, second = await insert(), await insert()

    async def order() -> None:
        await orders.place(OrderRequest(user="Pavel", basket=str(second), sum=10, attempt=1))

    with meeting("baskets.aggregate", order, after=True):
        assert await mend() == []
    assert await left() == [second]
    with pytest.raises(NotFound):
        await orders.place(OrderRequest(user="Pavel", basket=str(first), sum=10, attempt=1))


async def test_beside_customers_and_beside_itself_one_basket_stays_and_every_order_too() -> None:
    """Four run at once while customers order whatever basket they hold: what was accepted is there afterwards."""
    users = [f"user {n}" for n in range(15)]
    held = {user: [str(await insert(user=user)) for _ in range(6)] for user in users}
    accepted: dict[str, set[str]] = {user: set() for user in users}

    async def customer(user: str, basket: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        try:
            await orders.place(OrderRequest(user=user, basket=basket, sum=10, attempt=1))
        except NotFound:
            return
        accepted[user].add(basket)

    customers = [customer(user, held[user][n % 6], 0.01 * n) for n, user in enumerate(users)]
    await asyncio.gather(mend(), mend(), mend(), mend(), *customers)
    for user in users:
        there = {str(basket) for basket in await left(user)}
        assert len(there) == 1
        assert accepted[user] <= there


@pytest.mark.parametrize("name", ["paid_baskets", "deposits"])
async def test_equal_entries_of_an_archive_become_one(name: str) -> None:
    """Two moves at once inserted each of them; the one that has its position is the one that the account counts."""
    archive = collection("billing", name)
    entry = {"user": "Pavel", "key": "7f9c", "basket": ObjectId(), "sum": Int64(10), "at": AT}
    await archive.insert_many([{**entry}, {**entry, "position": Int64(1), "through": Int64(10)}, {**entry}])
    await archive.insert_one({**entry, "user": "Olga"})
    assert await mend() == []
    assert [each.get("position") for each in await archive.find({"user": "Pavel"}).to_list()] == [1]
    assert await archive.count_documents({}) == 2


async def test_entries_of_an_archive_that_differ_are_for_somebody_to_decide() -> None:
    """One key with two sums: which one counts, the deposits of the account may tell."""
    archive = collection("billing", "deposits")
    entry = {"user": "Pavel", "key": "7f9c", "sum": Int64(10), "at": AT}
    await archive.insert_many([{**entry}, {**entry, "sum": Int64(11)}])
    (told,) = await mend(("billing",))
    assert told.startswith("billing.deposits: user Pavel, key 7f9c: ")
    assert await archive.count_documents({}) == 2
    with pytest.raises(NotSetUp, match="user Pavel, key 7f9c"):
        await setup()


async def test_only_the_services_named_are_mended() -> None:
    """As for setup."""
    both = [await insert(), await insert()]
    assert await mend(("billing", "notify")) == []
    assert await left() == both


@pytest.mark.parametrize("highest", ["paid", "open"])
async def test_two_paid_baskets_of_one_number_are_mended_by_hand_as_docs_setup_says(highest: str) -> None:
    """Both stay, as both were charged; the index can be made, and the user goes on with the basket there was."""
    await insert("paid", 1, number=1)
    paid = await insert("paid", 1, number=1)
    top = await insert("paid", 1, number=2) if highest == "paid" else await insert(number=2)
    with pytest.raises(NotSetUp):
        await setup()
    (_,) = await mend()
    baskets = collection("orders", "baskets")
    free = 3
    if highest == "open":
        await baskets.update_one({"_id": top, "user": "Pavel"}, {"$set": {"number": Int64(3)}})
        free = 2
    await baskets.update_one({"_id": paid, "user": "Pavel", "status": "paid"}, {"$set": {"number": Int64(free)}})
    await setup()
    assert await readiness.problem("orders", 5) is None
    current = await orders.current_basket("Pavel")
    assert (current["number"], current["status"]) == (4 if highest == "paid" else 3, "open")
    assert (current["_id"] == top) is (highest == "open")
