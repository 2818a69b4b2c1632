"""`orders verify`: a good state passes, what is wrong is found and named, and events repair what they can."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient

from local.servers.mongodb import Mongod
from local.stack import Stack
from proof.replay.kept import load_state
from shop.store.client import collection
from tests.operate.command import Orders
from tests.operate.conftest import Bug, Customer
from tests.operate.stored import baskets, notifications, users
from tests.support.stack_fixtures import eventually

NOW = ("--older-than", "0s", "--grace", "0s")


@pytest.fixture
async def kept(shop: None, mongod: Mongod) -> Orders:
    """Run `orders` against MongoDB alone, in the state that the recorded run left, nothing on its way."""
    load_state(mongod.uri)
    ordered = collection("orders", "baskets")
    again = {"$set": {"status": "open"}, "$inc": {"attempt": Int64(-1)}, "$unset": {"resend_at": ""}}
    await ordered.update_many({"status": "ordered"}, again)
    await ordered.update_many({"decided_at": None, "attempt": {"$gt": 0}}, {"$set": {"decided_at": datetime.now(UTC)}})
    return Orders({"MONGODB_URI": mongod.uri})


async def test_a_good_state_passes(kept: Orders) -> None:
    """Everything is counted; balance = deposited - paid, over all users."""
    for options in ((), ("--audit",)):
        run = await kept("verify", *NOW, *options, "--json")
        assert run.code == 0, run.json["problems"]
        found = run.json
        assert found["problems"] == []
        assert found["users"] == 10
        assert found["balance"] == found["deposited"] - found["paid"]
        assert found["notifications"] >= found["paid_baskets"] > 50
    assert (await kept("verify", *NOW)).out.splitlines()[-1].startswith("OK: checked 10 users, ")


async def steal(user: str) -> None:
    await users().update_one({"_id": user}, {"$inc": {"balance": Int64(-1)}})


async def charge_again(user: str) -> None:
    entry = (await users().find_one({"_id": user}))["paid_baskets"][0]
    change = {"$push": {"paid_baskets": entry}, "$inc": {"balance": -entry["sum"]}}
    await users().update_one({"_id": user}, change)


async def charge_more(user: str) -> None:
    change = {"$inc": {"balance": Int64(-5), "paid_baskets.0.sum": Int64(5)}}
    await users().update_one({"_id": user}, change)


async def forget_a_charge(user: str) -> None:
    entry = (await users().find_one({"_id": user}))["paid_baskets"][0]
    change = {"$pull": {"paid_baskets": {"basket": entry["basket"]}}, "$inc": {"balance": entry["sum"]}}
    await users().update_one({"_id": user}, change)


async def forget_a_basket(user: str) -> None:
    paid = await baskets().find_one({"user": user, "status": "paid"})
    await baskets().delete_one({"_id": paid["_id"]})


async def reopen_a_paid_basket(user: str) -> None:
    await baskets().update_one({"user": user, "number": 1}, {"$set": {"status": "open"}})


async def unsettle(user: str) -> None:
    await baskets().update_one({"user": user, "number": 1}, {"$set": {"status": "ordered"}})


async def order_and_lose_it(user: str) -> None:
    last = await baskets().find_one({"user": user}, sort=[("number", -1)])
    change = {"$set": {"status": "ordered"}, "$inc": {"attempt": Int64(1)}}
    await baskets().update_one({"_id": last["_id"]}, change)


async def lose_a_decline(user: str) -> None:
    change: Any = {"$set": {"status": "open", "attempt": Int64(1), "sum": Int64(7), "decided_at": datetime.now(UTC)}}
    last = await baskets().find_one({"user": user}, sort=[("number", -1)])
    assert last["status"] == "open"
    await baskets().update_one({"_id": last["_id"]}, change)
    await users().update_one({"_id": user}, {"$unset": {"declined": ""}})


async def forget_an_order(user: str) -> None:
    last = await baskets().find_one({"user": user}, sort=[("number", -1)])
    declined = {"number": last["number"], "basket": last["_id"], "attempt": Int64(last["attempt"] + 1)}
    more = {"sum": Int64(5), "reason": "insufficient funds", "decided_at": datetime.now(UTC)}
    await users().update_one({"_id": user}, {"$set": {"declined": declined | more}})


async def decide_what_nobody_ordered(user: str) -> None:
    await forget_an_order(user)
    await users().update_one({"_id": user}, {"$set": {"declined.basket": ObjectId()}})


async def decide_at_another_time(user: str) -> None:
    change = {"$set": {"decided_at": datetime(2026, 1, 1, tzinfo=UTC)}}
    await notifications().update_one({"user": user, "outcome": "paid"}, change)


async def lose_a_notification(user: str) -> None:
    paid = await baskets().find_one({"user": user, "status": "paid"})
    await notifications().delete_one({"_id": f"{paid['_id']}.{paid['attempt']}"})


async def notify_otherwise(user: str) -> None:
    await notifications().update_one({"user": user, "outcome": "paid"}, {"$set": {"outcome": "declined"}})


async def notify_of_nothing(user: str) -> None:
    one = await notifications().find_one({"user": user})
    await notifications().insert_one({**one, "_id": f"{ObjectId()}.1"})


@pytest.mark.parametrize(
    ("damage", "kind", "repairable"),
    [
        (steal, "balance", False),
        (charge_again, "charged twice", False),
        (charge_more, "other terms", False),
        (forget_a_charge, "paid, not charged", False),
        (forget_a_basket, "no basket", False),
        (reopen_a_paid_basket, "charged, not paid", False),
        (reopen_a_paid_basket, "two unpaid baskets", False),
        (unsettle, "not settled", True),
        (order_and_lose_it, "undecided", True),
        (lose_a_notification, "not notified", True),
        (notify_otherwise, "contradiction", False),
        (notify_of_nothing, "no decision", False),
        (lose_a_decline, "lost decline", False),
        (forget_an_order, "later decision", False),
        (decide_what_nobody_ordered, "no basket", False),
        (decide_at_another_time, "contradiction", False),
    ],
)
async def test_damage_is_found_and_named(
    kept: Orders, damage: Callable[[str], Awaitable[None]], kind: str, repairable: bool
) -> None:
    """Exit code 1, the user, and whether an event repairs it; other users are fine."""
    await damage("Павел 3")
    run = await kept("verify", *NOW, "--json")
    assert run.code == 1
    assert {problem["user"] for problem in run.json["problems"]} == {"Павел 3"}
    assert (kind, repairable) in {(problem["kind"], problem["repairable"]) for problem in run.json["problems"]}
    assert (await kept("verify", *NOW, "--user", "Павел 3")).code == 1
    assert (await kept("verify", *NOW, "--user", "Павел 4")).code == 0
    text = (await kept("verify", *NOW)).out
    assert kind in text
    assert "Павел 3" in text


async def test_what_differs_is_told_with_what_each_service_says_and_what_can_be_done(kept: Orders) -> None:
    """Three stories and a remedy, as text and as JSON."""
    await forget_a_charge("Павел 3")
    run = await kept("verify", *NOW, "--user", "Павел 3", "--json")
    (problem,) = run.json["problems"]
    basket, _, attempt = problem["about"].partition(".")
    stored = await baskets().find_one({"_id": ObjectId(basket)})
    paid = f"paid (attempt {stored['attempt']}, sum {stored['sum']})"
    assert (problem["orders"], problem["billing"], attempt) == (paid, "nothing", "")
    assert problem["notify"].endswith(paid)
    assert "nothing charges it any more" in problem["remedy"]
    text = (await kept("verify", *NOW, "--user", "Павел 3")).out
    assert f"orders says {paid}; billing says nothing; notify says " in text
    assert problem["remedy"] in text


@pytest.mark.parametrize("options", [(), ("--user", "nobody")], ids=["no users at all", "a user nobody knows"])
async def test_nothing_verified_is_exit_code_2_and_says_where_it_looked(
    shop: None, mongod: Mongod, options: tuple[str, ...]
) -> None:
    """A job that runs on the wrong database must not be content for ever."""
    run = await Orders({"MONGODB_URI": mongod.uri})("verify", *NOW, *options)
    assert (run.code, run.out) == (2, "")
    host = mongod.uri.removeprefix("mongodb://").partition("/")[0]
    assert ("there is no user 'nobody' in" if options else "there is no user in") in run.err
    assert f"orders at {host}, billing at {host}, notify at {host}" in run.err


@pytest.mark.parametrize("service", ["orders", "billing", "notify"])
async def test_a_database_that_is_not_set_up_is_exit_code_2(kept: Orders, service: str) -> None:
    """Its name is misspelt, or setup never ran: one of the three suffices to make the others' stories worthless."""
    run = await kept.told(**{f"{service.upper()}_DATABASE": "misspelt"})("verify", *NOW)
    assert (run.code, run.out) == (2, "")
    assert "nothing was verified: misspelt at " in run.err
    assert "has no collection" in run.err


async def test_counts_are_told_zeros_too(kept: Orders) -> None:
    """Who reads `0 notifications` sees that something is amiss."""
    await notifications().delete_many({})
    run = await kept("verify", *NOW)
    assert "0 notifications" in run.out
    await users().insert_one({"_id": "Яков", "balance": Int64(0)})
    run = await kept("verify", *NOW, "--user", "Яков")
    counts = "1 users, 0 baskets, 0 paid baskets, 0 notifications, 0 deposited, 0 paid, 0 balance"
    assert (run.code, run.out.partition(";")[0]) == (0, counts)


async def archive(user: str, entries: int = 3) -> None:
    """Move the oldest entries of both arrays to the archives, as billing does."""
    account = await users().find_one({"_id": user})
    moved, deposits = account["paid_baskets"][:entries], account["deposits"][:1]
    await collection("billing", "paid_baskets").insert_many([{**entry, "user": user} for entry in moved])
    await collection("billing", "deposits").insert_many([{**entry, "user": user} for entry in deposits])
    await users().update_one(
        {"_id": user},
        {
            "$set": {
                "paid_baskets": account["paid_baskets"][entries:],
                "deposits": account["deposits"][1:],
                "archived_through": max(entry["number"] for entry in moved),
                "archived": {
                    "paid": Int64(sum(entry["sum"] for entry in moved)),
                    "deposited": Int64(sum(entry["sum"] for entry in deposits)),
                    "deposits": Int64(len(deposits)),
                },
            }
        },
    )


async def test_archives_are_trusted_by_their_totals_and_audited_by_entry(kept: Orders) -> None:
    """What an archive has lost shows only with --audit; what orders says otherwise shows without."""
    await archive("Павел 3")
    for options in ((), ("--audit",)):
        assert (await kept("verify", *NOW, *options)).code == 0
    await collection("billing", "paid_baskets").delete_one({"user": "Павел 3"})
    await collection("billing", "deposits").delete_one({"user": "Павел 3"})
    assert (await kept("verify", *NOW)).code == 0
    run = await kept("verify", *NOW, "--audit", "--json")
    kinds = {problem["kind"] for problem in run.json["problems"]}
    assert {"archived charges", "archived deposits", "paid, not charged"} <= kinds
    await baskets().update_one({"user": "Павел 3", "number": 1}, {"$inc": {"sum": Int64(1)}})
    run = await kept("verify", *NOW, "--json")
    assert {problem["kind"] for problem in run.json["problems"]} >= {"archived charges"}


async def test_what_was_archived_is_known_without_an_audit(kept: Orders) -> None:
    """Orders was restored: a basket is open again, though it is in the archive; each service's story is told."""
    await archive("Павел 3")
    change = {"$set": {"status": "open", "attempt": Int64(0)}, "$unset": {"sum": "", "decided_at": ""}}
    await baskets().update_one({"user": "Павел 3", "number": 1}, change)
    run = await kept("verify", *NOW, "--json")
    (problem,) = [each for each in run.json["problems"] if each["kind"] == "charged, not paid"]
    assert problem["orders"] == "open"
    assert problem["billing"].startswith("paid (attempt ")


@pytest.mark.parametrize("archived", ["paid_baskets", "deposits"])
async def test_an_archive_of_another_backup_than_its_account_is_found(kept: Orders, archived: str) -> None:
    """Older, newer, and where nothing says how many there must be."""
    kind = {"paid_baskets": "archived charges", "deposits": "archived deposits"}[archived]
    await archive("Павел 3")
    entries = collection("billing", archived)
    entry = await entries.find_one_and_delete({"user": "Павел 3"})
    run = await kept("verify", *NOW, "--audit", "--json")
    (problem,) = [each for each in run.json["problems"] if each["kind"] == kind]
    assert "the archive is from an older backup than the account" in problem["detail"]
    assert "as of one moment" in problem["remedy"]
    name = {"paid_baskets": "basket", "deposits": "key"}[archived]
    other = {"basket": ObjectId()} if name == "basket" else {"key": "other"}
    await entries.insert_many([entry, {**entry, "_id": ObjectId(), **other}])
    run = await kept("verify", *NOW, "--audit", "--json")
    (problem,) = [each for each in run.json["problems"] if each["kind"] == kind]
    assert "the account is from an older backup than the archive" in problem["detail"]


@pytest.mark.parametrize("options", [(), ("--audit",)], ids=["as usual", "audit"])
async def test_an_archive_that_was_counted_several_times_is_told_apart_from_lost_money(
    kept: Orders, options: tuple[str, ...]
) -> None:
    """What 67d5614 could do when numbers came late: the total is too high, and the balance as it must be."""
    await archive("Павел 3")
    account = await users().find_one({"_id": "Павел 3"})
    counted = account["archived"]["paid"]
    await users().update_one({"_id": "Павел 3"}, {"$set": {"archived.paid": Int64(counted * 10)}})
    run = await kept("verify", *NOW, *options, "--json")
    (problem,) = run.json["problems"]
    assert (run.code, problem["user"], problem["kind"]) == (1, "Павел 3", "counted twice")
    said = f"archived.paid is {counted * 10}, but the 3 entries in the archive add up to {counted}"
    assert problem["detail"].startswith(said)
    assert "the balance is right" in problem["remedy"]
    await users().update_one({"_id": "Павел 3"}, {"$inc": {"balance": Int64(-1)}})
    run = await kept("verify", *NOW, *options, "--json")
    assert {each["kind"] for each in run.json["problems"]} >= {"balance", "archived charges"}


async def test_databases_of_different_epochs_are_a_problem_and_nothing_is_repaired_then(
    kept: Orders, mongod: Mongod
) -> None:
    """One was restored, and setup did not begin the next epoch: no event would be right for all."""
    await lose_a_notification("Павел 3")
    run = await kept("verify", *NOW, "--json")
    assert run.json["epochs"] == {"orders": 0, "billing": 0, "notify": 0}
    restored = {"_id": "epoch", "epoch": Int64(7), "restored_at": datetime.now(UTC)}
    await collection("billing", "meta").insert_one(restored)
    run = await kept("verify", *NOW)
    assert run.code == 1
    told = (
        "the databases are of different epochs: orders 0, billing 7, notify 0; after a restore run python -m shop.setup"
    )
    assert told in run.out
    run = await kept.told(SINK_URL="http://127.0.0.1:9/{name}")("verify", *NOW, "--repair")
    assert run.code == 2
    assert f"nothing was repaired: {told}" in run.err
    run = await kept("verify", *NOW, "--user", "Павел 4")
    assert (run.code, "no other problems found" in run.out) == (1, True)


async def test_an_entry_that_is_moving_to_the_archive_counts_once(kept: Orders) -> None:
    """After the copy and before the pull it is in both."""
    account = await users().find_one({"_id": "Павел 3"})
    copies = [{**entry, "user": "Павел 3"} for entry in account["paid_baskets"][:2]]
    await collection("billing", "paid_baskets").insert_many(copies)
    assert (await kept("verify", *NOW, "--audit")).code == 0


async def test_what_is_on_its_way_is_no_problem(kept: Orders) -> None:
    """An order counts as undecided once it is older than the limit."""
    await order_and_lose_it("Павел 3")
    await baskets().update_one(
        {"user": "Павел 3", "status": "ordered"},
        {"$set": {"ordered_at": datetime.now(UTC) - timedelta(minutes=3)}},
    )
    assert (await kept("verify", "--grace", "0s", "--older-than", "10m")).code == 0
    assert (await kept("verify", "--grace", "0s", "--older-than", "2m")).code == 1


async def test_a_notification_that_has_just_come_is_no_problem(kept: Orders) -> None:
    """Orders is read before notify: what was ordered and decided in between is not known there yet."""
    one = await notifications().find_one({"user": "Павел 3"})
    recorded_at = datetime.now(UTC) - timedelta(minutes=3)
    await notifications().insert_one({**one, "_id": f"{ObjectId()}.1", "recorded_at": recorded_at})
    assert (await kept("verify", "--grace", "0s", "--older-than", "10m")).code == 0
    assert (await kept("verify", "--grace", "0s", "--older-than", "2m")).code == 1


async def test_a_user_whom_only_orders_knows_is_verified_too(kept: Orders) -> None:
    """A basket paid by nobody, of a name that comes after all others."""
    basket = await baskets().find_one({"user": "Павел 3", "status": "paid"})
    await baskets().insert_one({**basket, "_id": ObjectId(), "user": "Яков"})
    run = await kept("verify", *NOW, "--json")
    assert {(each["user"], each["kind"]) for each in run.json["problems"]} >= {("Яков", "paid, not charged")}


async def test_a_poisoned_topic_is_emptied_repaired_and_redriven(orders: Orders, customer: Customer, bug: Bug) -> None:
    """A bug refuses every decision; fixed and redriven, every notification is there."""
    only = ("--user", customer.user)
    await customer.deposit(100)
    bug.deploy()
    for _ in range(5):
        await customer.settle(10)

    async def dead() -> bool:
        groups = (await orders("dlq", "list", "--where", f"user={customer.user}", "--json")).json
        return sum(group["waiting"] for group in groups) == 5

    await eventually(dead)
    run = await orders("verify", *NOW, *only, "--json")
    assert (run.code, len(run.json["problems"])) == (1, 5)
    bug.fix()
    assert (await orders("dlq", "redrive", "--where", f"user={customer.user}")).code == 0
    assert (await orders("verify", *NOW, *only, "--audit")).code == 0


async def test_repair_brings_lost_notifications_back_and_charges_nobody_again(
    orders: Orders, customer: Customer, stack: Stack
) -> None:
    """Those of a charge and of the last decline: both are told again, from what billing has stored."""
    await customer.deposit(100)
    paid = await customer.order(10)
    declined = await customer.order(1000)
    async with AsyncMongoClient[Any](stack.mongodb_uri) as client:
        await client.notify.notifications.delete_many({"user": customer.user})
    only = ("--user", customer.user, "--older-than", "0s", "--grace", "0s")
    run = await orders("verify", *only, "--json")
    assert [problem["about"] for problem in run.json["problems"]] == [f"{paid}.1", f"{declined}.1"]
    run = await orders("verify", *only, "--repair", "--json")
    assert (run.code, run.json["events_sent"], run.json["repaired"]) == (0, 2, 2)
    assert len(await customer.notifications()) == 2
    assert (await customer.call("GET", "/GetUser"))["balance"] == 90


async def test_what_no_event_can_repair_is_reported(orders: Orders, customer: Customer, stack: Stack) -> None:
    """The lost notification of a decline that was ordered again since."""
    await customer.deposit(5)
    basket = await customer.order(10)
    await customer.deposit(5)
    await customer.order(10)
    async with AsyncMongoClient[Any](stack.mongodb_uri) as client:
        await client.notify.notifications.delete_one({"_id": f"{basket}.1"})
    run = await orders("verify", "--user", customer.user, *NOW, "--repair", "--json")
    assert (run.code, run.json["events_sent"]) == (1, 0)
    (problem,) = run.json["problems"]
    assert (problem["kind"], problem["about"], problem["repairable"]) == ("not notified", f"{basket}.1", False)
    assert "what billing no longer holds cannot be sent" in problem["remedy"]


async def test_a_problem_that_passes_during_the_grace_period_is_none(orders: Orders, customer: Customer) -> None:
    """Customers order all the time; what is seen half done is seen done the next time."""
    await customer.deposit(100)
    await customer.order(10)
    run = await orders("verify", "--older-than", "0s", "--grace", "1s", "--user", customer.user)
    assert run.code == 0
