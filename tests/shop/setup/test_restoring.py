"""After a restore a new epoch begins in all three databases or in none, and what is ordered is asked for again."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from shop import orders
from shop.messages import rfc3339
from shop.setup import restored, restoring, setup
from shop.setup.restoring import FUNCTIONS, NotRestored
from shop.state import SERVICES
from shop.store import readiness
from shop.store.client import collection, database
from tests.support.functions import folders
from tests.support.meeting import meeting

pytestmark = pytest.mark.usefixtures("empty")

AWAY = "mongodb://127.0.0.1:9/?directConnection=true&serverSelectionTimeoutMS=200"


async def stored() -> list[dict[str, Any] | None]:
    """Return what each database says of its epoch."""
    return [await collection(service, "meta").find_one({"_id": "epoch"}) for service in SERVICES]


async def epochs() -> list[int]:
    """Return the epoch of each database."""
    return [each["epoch"] if each else 0 for each in await stored()]


async def insert_basket(user: str, status: str, **fields: object) -> ObjectId:
    """Make a basket, due for a resend in an hour if at all."""
    basket = {"_id": ObjectId(), "user": user, "number": Int64(1), "status": status, "attempt": Int64(1), **fields}
    await collection("orders", "baskets").insert_one(basket)
    return basket["_id"]


async def test_it_begins_one_epoch_in_all_three() -> None:
    """The same number and the same time, which the validators take and each function then reads."""
    await setup()
    began = await restored()
    assert await stored() == [{"_id": "epoch", "epoch": began.epoch, "restored_at": began.restored_at}] * 3
    await setup()  # validators do not look at what is there
    for each, service in zip(await stored(), SERVICES, strict=True):
        assert each is not None
        assert isinstance(each["epoch"], Int64)
        await collection(service, "meta").replace_one({"_id": "epoch"}, each)
        assert await readiness.ready(service) == readiness.Epoch(began.epoch, began.restored_at)
    assert abs(began.restored_at - datetime.now(UTC)) < timedelta(seconds=10)


async def test_it_may_run_before_setup_did() -> None:
    """What a restore brought back may be older than setup."""
    began = await restored()
    await setup()
    assert await epochs() == [began.epoch] * 3


async def test_each_run_begins_another_epoch_in_all_three() -> None:
    """Above everything that any of them has seen, as after one that was restored alone, or a run that broke off."""
    first = await restored()
    second = await restored()
    assert second.epoch > first.epoch
    far = Int64(2**60)
    await collection("billing", "meta").update_one({"_id": "epoch"}, {"$set": {"epoch": far}})
    await collection("notify", "meta").delete_many({})
    assert (await restored()).epoch == far + 1
    assert await epochs() == [far + 1] * 3


async def test_a_backup_that_is_restored_twice_does_not_begin_the_same_epoch_twice() -> None:
    """It has forgotten the epoch between, whose events are still in the topics: they must not be taken for new ones."""
    await setup()
    first = await restored()
    for service in SERVICES:  # as the backup has it
        await collection(service, "meta").delete_many({})
    assert (await restored()).epoch > first.epoch


async def test_an_epoch_never_falls() -> None:
    """Not by two runs at once either: one that looked earlier writes later."""
    orders_database = database("orders")
    await restoring._write(orders_database, 7, datetime(2026, 11, 26, tzinfo=UTC))
    await restoring._write(orders_database, 5, datetime(2026, 11, 25, tzinfo=UTC))
    meta = await orders_database["meta"].find_one({})
    assert meta is not None
    assert meta["epoch"] == 7


async def test_what_is_ordered_is_asked_for_at_once() -> None:
    """However long it had been waiting; nothing else of a basket changes, and no other basket does."""
    await setup()
    long_ago, later = datetime.now(UTC) - timedelta(hours=5), datetime.now(UTC) + timedelta(hours=1)
    times = {"sum": Int64(10), "ordered_at": long_ago.replace(microsecond=0), "resend_at": later.replace(microsecond=0)}
    ordered = [await insert_basket(user, "ordered", **times) for user in ("Olga", "Pavel")]
    await insert_basket("Anna", "paid", sum=Int64(10))
    await insert_basket("Igor", "open")
    assert await orders.claim_due() is None
    before = await collection("orders", "baskets").find().sort("_id").to_list()
    assert (await restored()).asked_again == 2
    after = await collection("orders", "baskets").find().sort("_id").to_list()
    assert [{**basket, "resend_at": None} for basket in after] == [{**basket, "resend_at": None} for basket in before]
    claimed = [await orders.claim_due() for _ in range(3)]
    assert sorted(due.event.basket for due in claimed if due) == sorted(map(str, ordered))


@pytest.mark.parametrize("service", SERVICES)
async def test_when_one_cannot_be_read_nothing_is_changed(service: str, configure: Callable[..., None]) -> None:
    """All three or none; the one that is away is named."""
    await setup()
    basket = await insert_basket("Pavel", "ordered", resend_at=datetime(2027, 1, 1, tzinfo=UTC))
    before = await collection("orders", "baskets").find_one({"_id": basket})
    configure(mongodb_uris={service: AWAY})
    with pytest.raises(NotRestored, match=f"^{service} cannot be read, nothing was changed: 127.0.0.1:9"):
        await restored()
    assert await stored() == [None, None, None]
    assert await collection("orders", "baskets").find_one({"_id": basket}) == before


async def test_one_that_breaks_off_says_so_and_the_next_run_makes_it_whole() -> None:
    """Between the three databases there is no transaction; a later epoch than its consumer's waits meanwhile."""

    async def breaks_off() -> None:
        if writes.times == 2:
            raise OperationFailure("not authorized", 13)

    said = pytest.raises(NotRestored, match="began in orders of orders, billing, notify for sure; run it again before")
    with meeting("meta.find_one_and_update", breaks_off) as writes, said:
        await restored()
    assert [bool(epoch) for epoch in await epochs()] == [True, False, False]
    began = await restored()
    assert await epochs() == [began.epoch] * 3


async def test_it_says_what_it_found(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever restored sees whether these are the databases, and as of one moment."""
    caplog.set_level(logging.INFO, "shop.setup")
    await setup()
    caplog.clear()
    await insert_basket("Pavel", "ordered", resend_at=datetime(2027, 1, 1, tzinfo=UTC))
    await collection("billing", "users").insert_one({"_id": "Pavel", "balance": Int64(0)})
    first = await restored()
    assert caplog.messages == [
        "orders: epoch 0; baskets: 1",
        "billing: epoch 0; users: 1, paid_baskets: 0, deposits: 0",
        "notify: epoch 0; notifications: 0",
        f"epoch {first.epoch} begins, restored at {rfc3339(first.restored_at)}",
        "ordered baskets that are asked for again at once: 1",
    ]
    caplog.clear()
    await collection("notify", "meta").delete_many({})
    await restored()
    assert caplog.messages[0].startswith(f"orders: epoch {first.epoch} since 20")
    assert "the epochs differ" in caplog.messages[3]


async def test_functions_that_are_still_connected_are_named(
    empty_mongod: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """They go on in the epoch that they began in; to write, they need these databases' names and credentials."""
    for function in ("billing_handler", "create_order"):
        async with AsyncMongoClient[Mapping[str, Any]](empty_mongod.uri, appname=function) as left_over:
            await left_over.admin.command("ping")
            caplog.clear()
            await restored()
            assert f"orders: still connected are {function}; end them: their epoch is over" in caplog.messages
    assert sorted(FUNCTIONS) == folders()
