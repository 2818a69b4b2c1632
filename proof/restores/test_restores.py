"""Databases restored from a backup: the procedures of docs/faults.md, word by word, and what each of them leaves.

After every restore the events of the lost time are delivered again, as a topic that still holds them would.
"""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bson import ObjectId

from local.servers.mongodb import Mongod
from proof.restores.world import Backup, World, blocks, exported
from shop.process import process
from shop.process.settings import ArrayLimits
from shop.schema.events_pb2 import PaymentDecided
from shop.store.client import collection, open_client
from tests.functions.conftest import Client
from tests.functions.conftest import client as client
from tests.functions.conftest import sink as sink
from tests.support.asgi import call
from tests.support.market import USER
from tests.support.processes import shop_serve
from tests.support.sink import Sink

ALL, BILLING, ORDERS, NOTIFY = "All three databases", "Billing alone", "Orders alone", "Notify alone"
REFUSED = "older_epoch: emitted before the restore of "


@pytest.fixture
async def world(client: Client, configure: Callable[..., None]) -> AsyncIterator[World]:
    """Return a shop with small arrays; drop the databases that were restored in it."""
    configure(array_limits=ArrayLimits(limit=4, batch=2))
    world = World(client)
    yield world
    connections = process.current().once(open_client)
    for name in await connections.list_database_names():
        if name.endswith("_2"):
            await connections.drop_database(name)


async def restore(world: World, backup: Backup, title: str) -> str:
    """Do the steps of a section with a backup: restore what it names, begin the epoch, start the functions."""
    world.client.sink.received.clear()  # what is on its way is of the lost time, and kept in `emitted`
    script = blocks(title, "sh")[0]
    names = exported(script)
    await world.restore(backup, list(names), names)
    printed = await world.run(script)
    world.start_functions(names)
    return printed


async def a_day(world: World) -> str:
    """Leave what a shop holds: deposits, an archive, a decline; and an order on its way, whose basket is returned."""
    await world.client.user(USER)
    await world.deposit(1000, "first")
    for _ in range(6):
        await world.settle(10)
    await world.settle(5000)
    basket = await world.order(20)
    world.emitted.append(world.client.sink.received.pop())
    return basket


async def a_lost_day(world: World) -> None:
    """Do what a restore will take back: payments, declines, deposits, another customer."""
    await world.deliver()
    for event in list(world.emitted[-1:]):
        await world.bring(event)
    await world.deliver()
    await world.deposit(500, "lost")
    for _ in range(5):
        await world.settle(30)
    await world.settle(9000)
    await world.client.user("Ann", 100)
    await world.settle(10, user="Ann")
    await world.order(40)
    world.emitted.append(world.client.sink.received.pop())


async def account(user: str = USER) -> Any:
    """Return billing's document of a user."""
    return await collection("billing", "users").find_one({"_id": user})


async def stored(basket: str) -> Any:
    """Return orders' document of a basket."""
    return await collection("orders", "baskets").find_one({"_id": ObjectId(basket)})


def decided_at(document: Any, field: str = "decided_at") -> str:
    """Return a stored time as MongoDB's shell writes it."""
    return str(document[field].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z")


# --- all three -------------------------------------------------------------------------------------------------------


async def test_all_three_databases_are_restored_as_of_one_moment(world: World) -> None:
    """What was ordered is charged once, the lost time stays out, and nothing contradicts; archives included."""
    basket = await a_day(world)
    backup = await world.backup()
    await a_lost_day(world)
    lost = list(world.emitted)

    printed = await restore(world, backup, ALL)

    assert "ordered baskets that are asked for again at once: 1" in printed
    assert await world.status(basket) == "ordered"
    await world.resend()
    assert await world.status(basket) == "paid"
    assert await world.client.balance() == 1000 - 60 - 20
    assert world.letters == []
    assert "; no problems found" in await world.run(blocks(ALL, "sh")[1])
    assert await world.kinds() == []
    for event in lost:
        await world.bring(event)
    assert {letter.reason.partition("of ")[0] + "of " for letter in world.letters} == {REFUSED}
    await world.deposit(500, "lost")  # the customer repeats it
    for _ in range(6):
        await world.settle(30)
    assert await world.client.balance() == 1500 - 60 - 20 - 180
    assert await world.kinds() == []


async def test_events_of_the_lost_time_change_nothing(world: World) -> None:
    """Each is refused by each consumer, before anything was asked for again and after."""
    await a_day(world)
    backup = await world.backup()
    await a_lost_day(world)
    await restore(world, backup, ALL)
    before = await world.databases()
    answers = await world.bring_the_lost_time()
    assert {answer.status for answer in answers} == {422}
    assert all(answer.text.startswith(REFUSED) for answer in answers)
    assert all("what is still open is asked for again" in answer.text for answer in answers)
    assert await world.databases() == before
    lost = list(world.emitted)
    await world.resend()
    after = await world.databases()
    for event in lost:
        assert {answer.status for answer in await world.bring(event)} == {422}
    assert await world.databases() == after


async def test_a_restore_after_a_restore_is_an_epoch_of_its_own(world: World) -> None:
    """The backup knows nothing of the first restore, yet what was emitted after that one is refused as well."""
    basket = await a_day(world)
    backup = await world.backup()
    await restore(world, backup, ALL)
    await world.resend()
    await world.settle(30)
    decisions = [event.body for event in world.emitted if event.header("ce-source") == "/billing"]
    assert sum(PaymentDecided.FromString(body).epoch > 0 for body in decisions) == 2
    await restore(world, backup, ALL)
    before = await world.databases()
    for event in world.emitted:
        assert {answer.status for answer in await world.bring(event)} == {422}
    assert await world.databases() == before
    await world.resend()
    assert await world.status(basket) == "paid"
    assert await world.client.balance() == 1000 - 60 - 20
    assert await world.kinds() == []


async def test_a_function_left_over_changes_nothing_in_the_restored_databases(
    world: World, mongod: Mongod, sink: Sink
) -> None:
    """Real processes that began before the restore: they write to the old databases, and what they emit is refused."""
    await a_day(world)
    backup = await world.backup()
    requested = world.emitted[-1]
    environment = {"MONGODB_URI": mongod.uri, "K_SINK": sink.url}
    async with (
        shop_serve("billing_handler", **environment) as billing,
        shop_serve("create_order", **environment) as create_order,
    ):
        body = json.dumps({"user": "nobody", "sum": 1, "basket": "0" * 24, "attempt": 1}).encode()
        assert (await create_order.send("POST", "/Order", body)).status == 404  # it began, in the old epoch
        await restore(world, backup, ALL)
        connections = process.current().once(open_client)
        before, old = await world.databases(), connections["billing"]["users"]
        balance = (await old.find_one({"_id": USER}))["balance"]

        headers = [f"{name}: {value}" for name, value in requested.headers if name.startswith(("ce-", "content-type"))]
        assert (await billing.send("POST", "/", requested.body, *headers)).status == 200
        assert (await old.find_one({"_id": USER}))["balance"] == balance - 20
        open_basket = await connections["orders"]["baskets"].find_one({"user": USER, "status": "ordered"})
        order = {"user": USER, "sum": 20, "basket": str(open_basket["_id"]), "attempt": open_basket["attempt"]}
        assert (await create_order.send("POST", "/Order", json.dumps(order).encode())).status == 200
        assert len(sink.received) == 2
        while sink.received:
            answers = await world.bring(sink.received.pop(0))
            assert {answer.status for answer in answers} == {422}
            assert all(answer.text.startswith(REFUSED) for answer in answers)
        assert await world.databases() == before

        assert (await call("resend_orders")).status == 200
        new = sink.received.pop(0)
        headers = [f"{name}: {value}" for name, value in new.headers if name.startswith(("ce-", "content-type"))]
        assert (await billing.send("POST", "/", new.body, *headers)).status == 503
        assert (await old.find_one({"_id": USER}))["balance"] == balance - 20
        await world.bring(new)
        await world.deliver()
    assert await world.client.balance() == 1000 - 60 - 20
    assert await world.kinds() == []


# --- one alone -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", [BILLING, ORDERS, NOTIFY])
async def test_one_database_restored_alone_leaves_nobody_unlisted_and_charges_nobody_twice(
    world: World, title: str
) -> None:
    """Both customers are listed; the lost time is refused; what follows charges no basket twice."""
    await a_day(world)
    backup = await world.backup()
    await a_lost_day(world)
    await restore(world, backup, title)

    before = await world.databases()
    answers = await world.bring_the_lost_time()
    assert {answer.status for answer in answers} == {422}
    assert await world.databases() == before
    assert {user for user, _ in await world.kinds()} == {USER, "Ann"}

    for _ in range(2):
        await world.resend()
        for user in (USER, "Ann"):
            await world.client.post("/CreateUser", {"user": user})
            basket = await world.client.get("/GetBasket", {"user": user})
            order = {"user": user, "sum": 30, "basket": basket.json["basket"], "attempt": basket.json["attempt"]}
            await world.client.post("/Order", order)
            await world.deliver()
    for user in (USER, "Ann"):
        entries = (await account(user)).get("paid_baskets", [])
        archived = await collection("billing", "paid_baskets").find({"user": user}).to_list()
        charged = [entry["basket"] for entry in (*entries, *archived)]
        assert len(charged) == len(set(charged))
        for entry in entries:
            basket_now = await stored(str(entry["basket"]))
            assert basket_now is None or (basket_now["status"], basket_now["attempt"]) != ("open", entry["attempt"])
    assert {user for user, _ in await world.kinds()} == {USER, "Ann"}


async def test_billing_alone_a_basket_paid_since_is_not_charged_again(world: World) -> None:
    """Orders never asks for it, and its old events are refused; verify lists it for ever."""
    await world.client.user(USER, 100)
    backup = await world.backup()
    basket = await world.settle(10)
    await restore(world, backup, BILLING)
    await world.bring_the_lost_time()
    await world.resend()
    assert await world.client.balance() == 100
    assert await world.status(basket) == "paid"
    assert await world.kinds() == [(USER, "paid, not charged")]
    assert (await world.verify("--repair")).json["events_sent"] == 0
    await world.settle(30)
    assert await world.client.balance() == 70
    assert await world.kinds() == [(USER, "paid, not charged")]


@pytest.mark.parametrize("mended", ["before the next order", "after it"])
async def test_billing_alone_what_was_declined_since_is_never_charged_and_the_customer_is_listed(
    world: World, mended: str
) -> None:
    """There is money by now, and the declined attempt stays declined; the next one is refused until billing knows."""
    await world.client.user(USER, 10)
    backup = await world.backup()
    basket = await world.settle(50)
    await world.deposit(1000, "top-up")
    await restore(world, backup, BILLING)
    await world.bring_the_lost_time()
    await world.deposit(1000, "top-up")
    assert await world.kinds() == [(USER, "lost decline")]
    declined = await stored(basket)
    values = {"user": USER, "basket": basket, "number": 1, "attempt": 1, "sum": 50, "decided_at": decided_at(declined)}
    if mended == "after it":
        world.letters.clear()
        await world.settle(50)
        assert [letter.consumer for letter in world.letters] == ["billing_handler"]
        assert "was never declined" in world.letters[0].reason
        assert (await world.status(basket), await world.client.balance()) == ("ordered", 1010)
        assert (USER, "lost decline") in await world.kinds()
        await world.mend(blocks("Correct by hand", "js")[0], **values)
        await collection("orders", "baskets").update_one({}, {"$set": {"resend_at": declined["decided_at"]}})
        await world.resend()
    else:
        await world.mend(blocks("Correct by hand", "js")[0], **values)
        assert await world.kinds() == []
        await world.settle(50)
    assert (await world.status(basket), await world.client.balance()) == ("paid", 960)
    assert await world.kinds() == []


async def test_billing_alone_an_order_that_is_not_settled_is_decided_anew(world: World) -> None:
    """Notify was told of the first decision, and keeps it; it is listed."""
    await world.client.user(USER, 100)
    basket = await world.order(10)
    world.emitted.append(world.client.sink.received.pop())
    backup = await world.backup()
    answer = await call("billing_handler", headers=world.emitted[0].headers, body=world.emitted[0].body)
    assert answer.status == 200
    decided = world.client.sink.received.pop()
    assert (await call("notify_handler", headers=decided.headers, body=decided.body)).status == 200
    await restore(world, backup, BILLING)
    await world.resend()
    assert (await world.status(basket), await world.client.balance()) == ("paid", 90)
    assert [letter.consumer for letter in world.letters] == ["notify_handler"]
    assert "was notified with decided_at" in world.letters[0].reason
    assert await world.kinds() == [(USER, "contradiction")]


async def test_billing_alone_deposits_are_made_again_by_their_keys(world: World) -> None:
    """Those of before the backup are counted already, those since then count now, each once."""
    await world.client.user(USER)
    for number in range(6):
        await world.deposit(10, f"before-{number}")
    backup = await world.backup()
    await world.deposit(500, "since")
    await restore(world, backup, BILLING)
    for _ in range(2):
        for number in range(6):
            await world.deposit(10, f"before-{number}")
        await world.deposit(500, "since")
    assert await world.client.balance() == 560
    assert await world.kinds() == []


async def test_orders_alone_a_paid_basket_is_ordered_again_without_a_second_charge(world: World) -> None:
    """The same sum: billing answers with the charge that there was."""
    await world.client.user(USER, 100)
    await world.client.basket(USER)
    backup = await world.backup()
    basket = await world.settle(10)
    await restore(world, backup, ORDERS)
    await world.bring_the_lost_time()
    assert await world.kinds() == [(USER, "charged, not paid"), (USER, "no decision")]
    assert await world.settle(10) == basket
    assert (await world.status(basket), await world.client.balance()) == ("paid", 90)
    assert await world.kinds() == []


async def test_orders_alone_a_paid_basket_ordered_for_another_sum_is_mended_by_hand(world: World) -> None:
    """Billing refuses to charge twice or to confirm a sum it did not charge; the letter has both sums."""
    await world.client.user(USER, 100)
    await world.client.basket(USER)
    backup = await world.backup()
    basket = await world.settle(10)
    await restore(world, backup, ORDERS)
    await world.settle(20)
    assert (await world.status(basket), await world.client.balance()) == ("ordered", 90)
    assert [letter.reason for letter in world.letters] == [
        "other_content: attempt 1 was ordered for 20, but decided for 10 (sum)"
    ]
    assert (USER, "other terms") in await world.kinds()
    (entry,) = (await account())["paid_baskets"]
    values = {"user": USER, "basket": basket, "attempt": 1, "sum": 10, "decided_at": decided_at(entry, "paid_at")}
    await world.mend(blocks("Correct by hand", "js")[1], **values)
    assert await world.kinds() == []
    await world.settle(20)
    assert await world.client.balance() == 70
    assert await world.kinds() == []


@pytest.mark.parametrize("ordered", [False, True], ids=["not ordered since", "ordered since"])
async def test_orders_alone_a_basket_declined_since_is_mended_by_hand(world: World, ordered: bool) -> None:
    """Orders gives attempt 1 again, yet billing has declined 2: refused, where it once waited for ever in silence."""
    await world.client.user(USER, 10)
    await world.client.basket(USER)
    backup = await world.backup()
    basket = await world.settle(50)
    await world.settle(60)
    await world.deposit(1000, "top-up")
    await restore(world, backup, ORDERS)
    await world.bring_the_lost_time()
    assert (USER, "later decision") in await world.kinds()
    if ordered:
        world.letters.clear()
        await world.settle(50)
        assert [letter.consumer for letter in world.letters] == ["billing_handler"]
        assert "orders was restored from an older backup than billing" in world.letters[0].reason
        assert (await world.status(basket), await world.client.balance()) == ("ordered", 1010)
        assert (USER, "later decision") in await world.kinds()
    declined = (await account())["declined"]
    values = {"user": USER, "basket": basket, "attempt": 2, "sum": 60, "decided_at": decided_at(declined)}
    await world.mend(blocks("Correct by hand", "js")[2], **values)
    assert await world.kinds() == []
    await world.settle(60)
    assert (await world.status(basket), await world.client.balance()) == ("paid", 950)
    assert await world.kinds() == []


async def test_orders_alone_a_basket_that_is_gone_is_listed_and_its_number_is_charged_again(world: World) -> None:
    """Numbers 1 to 6 were paid and partly archived; orders gives 3 again, to another basket, which is paid as usual."""
    await world.client.user(USER, 1000)
    for _ in range(2):
        await world.settle(10)
    backup = await world.backup()
    gone = [await world.settle(10) for _ in range(4)]
    await restore(world, backup, ORDERS)
    await world.bring_the_lost_time()
    basket = await world.settle(30)
    assert basket not in gone
    assert (await stored(basket))["number"] == 3
    assert (await world.status(basket), await world.client.balance()) == ("paid", 1000 - 60 - 30)
    run = await world.verify()
    listed = [problem["about"] for problem in run.json["problems"] if problem["kind"] == "no basket"]
    assert sorted(listed) == sorted(gone)
    for each in gone:
        await world.deposit(10, f"refund-{each}")
    assert await world.client.balance() == 1000 - 20 - 30


async def test_notify_alone_is_told_again_what_billing_has_stored(world: World) -> None:
    """Charges, archived ones too, and the last decline; that of an attempt ordered again since is listed for ever."""
    await world.client.user(USER, 1000)
    backup = await world.backup()
    for _ in range(5):
        await world.settle(10)
    first = await world.settle(5000)
    await world.settle(6000)
    before = await world.databases()
    await restore(world, backup, NOTIFY)
    await world.age()
    assert len(await world.kinds()) == 7
    script = blocks(NOTIFY, "sh")[1].replace("--repair", "--repair --wait 3s --grace 0s")
    async with world.delivering():
        printed = await world.run(script, code=1)
    assert "6 problems repaired" in printed
    assert "1 problems: 1 not notified" in printed
    (left,) = (await world.verify()).json["problems"]
    assert left["about"] == f"{first}.1"
    told = {each["_id"] for each in (await world.databases())["notify"]["notifications"]}
    assert told == {each["_id"] for each in before["notify"]["notifications"]} - {f"{first}.1"}
    assert await world.client.balance() == 950


async def test_an_account_that_was_counted_twice_is_served_and_counted_anew(world: World) -> None:
    """The balance goes with the entries; only the total of the archive is too high, until the next move."""
    await world.client.user(USER, 1000)
    for _ in range(4):
        await world.settle(10)
    change = {"$mul": {"archived.paid": 10}, "$unset": {"archived.paid_baskets": ""}}
    await collection("billing", "users").update_one({"_id": USER}, change)
    await collection("billing", "paid_baskets").update_many({}, {"$unset": {"position": "", "through": ""}})
    assert await world.kinds() == [(USER, "counted twice")]
    for _ in range(4):
        await world.settle(10)
    assert await world.client.balance() == 920
    assert await world.kinds() == []
