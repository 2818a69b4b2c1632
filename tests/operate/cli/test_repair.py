"""`orders verify --repair`: what is stored as decided is told again, and nobody is asked about it a second time."""

import asyncio
import os
from datetime import UTC, datetime

import pytest
from bson import Int64, ObjectId

from local.servers.mongodb import Mongod
from shop.schema.events_pb2 import PaymentRequested
from shop.store.client import collection
from tests.functions.conftest import Client
from tests.functions.conftest import client as client
from tests.functions.conftest import sink as sink
from tests.operate.command import Orders
from tests.operate.stored import baskets, notifications, users
from tests.support.market import Market
from tests.support.sink import Received, Sink

NOW = ("--older-than", "0s", "--grace", "0s")
REPAIR = ("verify", *NOW, "--repair", "--json")


@pytest.fixture
def orders(client: Client, mongod: Mongod, sink: Sink) -> Orders:
    """Run `orders` against functions in this process: their MongoDB, and their sinks."""
    return Orders({"MONGODB_URI": mongod.uri, "SINK_URL": sink.url.replace("payments", "{name}")})


@pytest.fixture
def pavel(client: Client) -> Market:
    """Return a shop whose customer is Pavel."""
    return Market(client)


async def unsettle(basket: str) -> None:
    """Lose what order_handler did."""
    change = {"$set": {"status": "ordered"}, "$unset": {"decided_at": "", "reason": ""}}
    await baskets().update_one({"_id": ObjectId(basket)}, change)


async def test_repair_never_asks_about_an_attempt_that_orders_has_as_declined(
    client: Client, pavel: Market, orders: Orders
) -> None:
    """Billing has lost the decline and notify its notification; there is money by now, and it stays where it is."""
    await client.user("Pavel", 10)
    await pavel.settle(150)
    assert (await client.post("/DepositCash", {"user": "Pavel", "sum": 190})).status == 200
    await users().update_one({"_id": "Pavel"}, {"$unset": {"declined": ""}})
    await notifications().delete_many({})
    async with pavel.delivering():
        run = await orders(*REPAIR, "--wait", "3s")
    assert await client.balance() == 200
    assert (run.code, run.json["events_sent"], run.json["repaired"]) == (1, 0, 0)
    assert [problem["kind"] for problem in run.json["problems"]] == ["lost decline", "not notified"]
    assert not any(problem["repairable"] for problem in run.json["problems"])


@pytest.mark.parametrize("sum_", [10, 1000], ids=["paid", "declined"])
@pytest.mark.parametrize("lost", ["settlement", "notification", "both"])
async def test_repair_tells_again_what_billing_decided(
    client: Client, pavel: Market, orders: Orders, sum_: int, lost: str
) -> None:
    """One event, the very one that billing emitted; billing is not asked again, and nothing of it changes."""
    await client.user("Pavel", 100)
    basket = await pavel.settle(sum_)
    emitted = pavel.emitted[-1]
    if lost != "notification":
        await unsettle(basket)
    if lost != "settlement":
        await notifications().delete_many({})
    account = await users().find_one({"_id": "Pavel"})
    async with pavel.delivering() as delivered:
        run = await orders(*REPAIR)
    assert run.code == 0, run.json
    assert (run.json["events_sent"], run.json["repaired"]) == (1, 1)
    (event,) = delivered
    assert event.request_line.split()[1].endswith("/results")
    assert event.body == emitted.body
    assert attributes(event) == attributes(emitted)
    assert await users().find_one({"_id": "Pavel"}) == account


def attributes(event: Received) -> dict[str, str]:
    """Return the attributes of an event."""
    headers = {name.lower(): value for name, value in event.headers}
    return {name: value for name, value in headers.items() if name.startswith("ce-") or name == "content-type"}


async def test_repair_asks_for_the_payment_of_what_is_ordered_and_undecided(
    client: Client, pavel: Market, orders: Orders
) -> None:
    """The very event of the order, which was lost; it is charged now, for the first time."""
    await client.user("Pavel", 100)
    await pavel.order(10)
    lost = client.sink.received.pop()
    async with pavel.delivering() as delivered:
        run = await orders(*REPAIR)
    assert (run.code, run.json["events_sent"], run.json["repaired"]) == (0, 1, 1), run.json
    assert delivered[0].request_line.split()[1].endswith("/payments")
    assert (delivered[0].body, attributes(delivered[0])) == (lost.body, attributes(lost))
    assert await client.balance() == 90


async def test_repair_tells_what_is_in_the_archive(client: Client, pavel: Market, orders: Orders) -> None:
    """The charge was moved from the account; the notification of it is told from there."""
    await client.user("Pavel", 100)
    basket = await pavel.settle(10)
    account = await users().find_one({"_id": "Pavel"})
    (entry,) = account["paid_baskets"]
    await collection("billing", "paid_baskets").insert_one({**entry, "user": "Pavel"})
    moved = {"paid_baskets": [], "archived_through": entry["number"], "archived.paid": entry["sum"]}
    await users().update_one({"_id": "Pavel"}, {"$set": moved})
    await notifications().delete_many({})
    async with pavel.delivering() as delivered:
        run = await orders(*REPAIR)
    assert (run.code, len(delivered), run.json["repaired"]) == (0, 1, 1), run.json
    assert (await notifications().find_one({}))["_id"] == f"{basket}.1"


async def test_what_repair_sends_is_of_the_databases_epoch(client: Client, pavel: Market, orders: Orders) -> None:
    """After a restore too it is the very event that the functions emit; of an older epoch it would be refused."""
    for service in ("orders", "billing", "notify"):
        epoch = {"_id": "epoch", "epoch": Int64(3), "restored_at": datetime.now(UTC)}
        await collection(service, "meta").insert_one(epoch)
    client.start_anew()
    await client.user("Pavel", 100)
    basket = await pavel.settle(10)
    await pavel.order(20)
    lost = client.sink.received.pop()
    emitted = pavel.emitted[-1]
    await unsettle(basket)
    async with pavel.delivering() as delivered:
        run = await orders(*REPAIR)
    assert (run.code, run.json["events_sent"]) == (0, 2), run.json
    assert {event.body for event in delivered} >= {lost.body, emitted.body}
    assert PaymentRequested.FromString(lost.body).epoch == 3


async def test_after_a_repair_the_whole_user_is_looked_at(client: Client, pavel: Market, orders: Orders) -> None:
    """What the event led to is as right as what it was sent for: here the lost order is declined, and so notified.

    Meanwhile somebody takes the decline away again, as a restore would. It is told, although it was no problem before.
    """
    await client.user("Pavel", 5)
    await pavel.order(10)
    client.sink.received.clear()

    async def forget() -> None:
        for _ in range(500):
            if await notifications().find_one({}):
                break
            await asyncio.sleep(0.01)
        await users().update_one({"_id": "Pavel"}, {"$unset": {"declined": ""}})

    forgetting = asyncio.create_task(forget())
    async with pavel.delivering():
        run = await orders(*REPAIR)
    await forgetting
    assert run.code == 1
    assert [problem["kind"] for problem in run.json["problems"]] == ["lost decline"]
    assert run.json["repaired"] == 1


async def test_repair_writes_no_environment_variable(client: Client, pavel: Market, orders: Orders) -> None:
    """Where the sink is, is an argument: what runs beside this goes on emitting to its own."""
    await client.user("Pavel", 100)
    await pavel.order(10)
    client.sink.received.clear()
    before = dict(os.environ)
    async with pavel.delivering():
        assert (await orders(*REPAIR)).code == 0
    assert dict(os.environ) == before
