"""Archives that 67d5614 filled, without positions and with what it got wrong, work on under today's rule."""

from typing import Any

import pytest
from pymongo import MongoClient

from proof.upgrade import books, kept
from proof.upgrade.books import KNOWN
from proof.upgrade.served import Functions, headers_of

FEW = ("damaged", "half moved", "late", "ordered", "Павел")
"""Accounts whose archives were left in different states."""


@pytest.mark.parametrize("users", [FEW, pytest.param((), marks=pytest.mark.long)], ids=["few", "all"])
async def test_every_account_is_served(shop: Functions, client: MongoClient[Any], users: tuple[str, ...]) -> None:
    """Deposits with and without keys, then orders until the arrays have been moved from, each event twice.

    What is moved is numbered from the count of what had been archived without numbers, with no gap and no double.
    """
    chosen = {"_id": {"$in": users}} if users else {}
    balances = {each["_id"]: each.get("balance", 0) for each in client.billing.users.find(chosen)}
    archives = ("paid_baskets", "deposits")
    unnumbered = {
        (user, name): client.billing[name].count_documents({"user": user}) for user in balances for name in archives
    }
    for user in balances:
        spent = await spend(shop, client, user)
        assert (await shop.account(user))["balance"] == balances[user] + 6 * 1010 - spent, user

    mended = {"ordered", "ordered again", "damaged"} & balances.keys()
    assert books.wrong(client) == {user: problems for user, problems in KNOWN.items() if user not in mended}
    for (user, name), before in unnumbered.items():
        entries = list(client.billing[name].find({"user": user}))
        positions = sorted(entry["position"] for entry in entries if "position" in entry)
        assert positions == list(range(before + 1, len(entries) + 1)), (user, name)
        assert client.billing.users.find_one({"_id": user})["archived"][name] == len(entries), (user, name)
        assert positions


async def spend(shop: Functions, client: MongoClient[Any], user: str) -> int:
    """Fill an account, order from it until its arrays have been moved from, and return what was paid."""
    assert (await shop.create_user(user)).status == 200
    for number in range(1, 7):
        for _ in range(2):
            assert (await shop.deposit(user, 1000, f"new-{number}")).status == 200
        assert (await shop.deposit(user, 10)).status == 200
    assert (await shop.deposit(user, 999, "new-1")).status == 422
    waiting = client.orders.baskets.find_one({"user": user, "status": "ordered"})
    sums = [waiting["sum"] if waiting else 1, *range(2, 7)]
    for sum_ in sums:
        assert await shop.order(user, sum_) == "paid", user
    assert await shop.order(user, 10**9) == "open"
    return sum(sums)


async def test_old_keys_and_baskets_are_known_after_new_moves(shop: Functions, client: MongoClient[Any]) -> None:
    """What was archived without positions is still found when later entries have them; money stays what it is."""
    for user in ("Павел", "persistent"):
        for number in range(6):
            await shop.deposit(user, 1000, f"more-{number}")
        for sum_ in range(3, 10):
            assert await shop.order(user, sum_) == "paid"
    balances = {user: (await shop.account(user))["balance"] for user in ("Павел", "persistent")}
    for call in kept.calls():
        if call.function == "deposit_cash" and call.fields["user"] in balances:
            answer = await shop.call(call.function, call.method, call.path, call.fields, call.headers)
            assert (answer.status, answer.headers.get("Idempotent-Replayed")) == (call.status, call.replayed)
    for delivery in kept.deliveries():
        if delivery.function == "billing_handler":
            answer = await shop.deliver(delivery.function, headers_of(delivery.event), delivery.event.data or b"")
            assert delivery.refused_for_its_number or answer.status == delivery.status
            assert delivery.refused_for_its_number or shop.emitted() == delivery.emitted
            shop.emitted()
    assert {user: (await shop.account(user))["balance"] for user in balances} == balances
    assert not books.wrong(client).keys() & balances.keys()


async def test_a_payment_that_was_refused_for_its_number_is_charged_once(
    shop: Functions, client: MongoClient[Any]
) -> None:
    """The archive is whole, and the basket is not in it: the letter of 67d5614 is paid by a redrive."""
    before = (await shop.account("late"))["balance"]
    letters = [each for each in kept.deliveries() if each.refused_for_its_number]
    assert letters
    for delivery in letters * 2:
        answer = await shop.deliver(delivery.function, headers_of(delivery.event), delivery.event.data or b"")
        assert answer.status == 200, answer
    assert (await shop.account("late"))["balance"] == before - 1
    assert books.wrong_of(client, "late") == []


async def test_a_move_that_died_between_its_steps_is_ended_and_counted_once(
    shop: Functions, client: MongoClient[Any]
) -> None:
    """Its entries are in the array and in the archive; the next move takes them along."""
    for number in range(2):
        assert (await shop.deposit("half moved", 500, f"more-{number}")).status == 200
    assert await shop.order("half moved", 24) == "paid"
    account = client.billing.users.find_one({"_id": "half moved"})
    assert account["archived"] == {"paid": 43, "paid_baskets": 2, "deposited": 500, "deposits": 2}
    assert books.wrong_of(client, "half moved") == []
    assert (await shop.deposit("half moved", 200, "first-1")).headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("moved", [False, True])
async def test_what_is_missing_from_an_old_archive_is_never_charged_or_credited_again(
    shop: Functions, client: MongoClient[Any], moved: bool
) -> None:
    """The archives are from an older backup than the account: what they lack may have been moved there since."""
    if moved:  # by today's code, on top of the old entries
        for number in range(6):
            await shop.deposit("Павел", 1000, f"more-{number}")
        for sum_ in range(3, 10):
            assert await shop.order("Павел", sum_) == "paid"
    client.billing.paid_baskets.delete_many({"user": "Павел", "number": {"$gte": 2}})
    client.billing.deposits.delete_many({"user": "Павел", "key": {"$ne": "first-1"}})
    before = client.billing.users.find_one({"_id": "Павел"})
    basket = client.orders.baskets.find_one({"user": "Павел", "number": 2})
    (event,) = [
        each.event
        for each in kept.deliveries()
        if each.function == "billing_handler" and each.event.attributes["subject"] == str(basket["_id"])
    ]
    for _ in range(2):
        for answer in (
            await shop.deliver("billing_handler", headers_of(event), event.data or b""),
            await shop.deposit("Павел", 101, "first-2"),
        ):
            assert answer.status == 503
            assert "Retry-After" not in answer.headers
    assert shop.emitted() == []
    assert client.billing.users.find_one({"_id": "Павел"}) == before


async def test_an_absence_counts_where_an_old_archive_is_whole(shop: Functions, client: MongoClient[Any]) -> None:
    """A new key is credited once, though keys are archived; a number that none of the old entries has is decided."""
    before = (await shop.account("Павел"))["balance"]
    for _ in range(2):
        assert (await shop.deposit("Павел", 7, "never-seen")).status == 200
    assert (await shop.account("Павел"))["balance"] == before + 7


async def test_a_damaged_count_is_mended_by_the_next_move(shop: Functions, client: MongoClient[Any]) -> None:
    """One move was counted ten times. The balance says that the archive is whole: the account counts right again."""
    assert await shop.order("damaged", 70) == "paid"
    assert await shop.order("damaged", 80) == "paid"
    assert (await shop.account("damaged"))["balance"] == 790 - 70 - 80
    archived = client.billing.users.find_one({"_id": "damaged"})["archived"]
    assert (archived["paid"], archived["paid_baskets"]) == (100 + 50 + 60, 6)
    assert books.wrong_of(client, "damaged") == []


async def test_what_a_damaged_archive_lacks_is_not_charged_again(shop: Functions, client: MongoClient[Any]) -> None:
    """One move was counted ten times, and the archive is from an older backup: for somebody to look into."""
    basket = client.orders.baskets.find_one({"user": "damaged", "number": 3})
    client.billing.paid_baskets.delete_one({"user": "damaged", "basket": basket["_id"]})
    (event, *_) = [
        each.event
        for each in kept.deliveries()
        if each.function == "billing_handler" and each.event.attributes["subject"] == str(basket["_id"])
    ]
    before = client.billing.users.find_one({"_id": "damaged"})
    answer = await shop.deliver("billing_handler", headers_of(event), event.data or b"")
    assert answer.status == 503
    assert client.billing.users.find_one({"_id": "damaged"}) == before
    assert await shop.order("damaged", 70) == "paid"
