"""Everything may come again: requests at the same time, events twice, late and out of order. Money moves once."""

import asyncio

import pytest

from local.stack import KAFKA_SOURCE
from proof.faults.customers import Shop, new_user
from proof.faults.system import System
from proof.faults.topics import PAYMENTS, RESULTS
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested


async def test_an_order_whose_events_all_come_twice_is_charged_once(system: System, shop: Shop) -> None:
    """Every function handles its event at least twice; there is one charge and one notification."""
    user = await shop.account(100)
    basket = await system.pay(user, 30)

    event = f"{basket}.1"
    for consumer in ("billing-handler", "order-handler", "notify-handler"):
        first, *others = await system.delivered(consumer, event)
        assert (first, set(others)) == ("paid", {"replayed"})
    assert await shop.balance(user) == 70
    assert await shop.notifications(user) == [(event, "paid")]
    assert len({record.value for record in system.topics.records(RESULTS, event)}) == 1, "two decisions differ"


async def test_fifty_identical_orders_at_once_are_charged_once(system: System, shop: Shop) -> None:
    """All 50 are answered 200, one of them as the first; one charge follows."""
    user = await shop.account(1000)
    basket, attempt = await shop.basket(user)

    replies = await asyncio.gather(*(shop.order(user, basket, 10, attempt) for _ in range(50)))

    assert {reply.status for reply in replies} == {200}
    assert {reply.body["attempt"] for reply in replies} == {1}
    assert sum(not reply.replayed for reply in replies) == 1
    assert await system.settled(basket) == "paid"
    emitted = sum(reply.body["message"] == "order accepted" for reply in replies)
    await system.delivered("billing-handler", f"{basket}.1", times=2 * emitted)
    assert await shop.balance(user) == 990
    assert await system.notified(user, 1) == [(f"{basket}.1", "paid")]


async def test_fifty_calls_of_get_basket_at_once_make_one_basket(system: System, shop: Shop) -> None:
    """A new user who asks 50 times at once is given one basket."""
    user = await shop.account(0)

    baskets = {basket for basket, _ in await asyncio.gather(*(shop.basket(user) for _ in range(50)))}

    assert len(baskets) == 1
    assert await system.collection("orders.baskets").count_documents({"user": user}) == 1


async def test_deposits_at_once_are_all_counted_and_those_of_one_key_once(system: System, shop: Shop) -> None:
    """Across many archivings of the array: 30 without a key count 30 times, 20 with one key once."""
    user = await shop.account(0)

    replies = await asyncio.gather(
        *(shop.deposit(user, 1) for _ in range(30)), *(shop.deposit(user, 1000, "one-key") for _ in range(20))
    )
    late = await shop.deposit(user, 1000, "one-key")

    assert {reply.status for reply in replies} == {200}
    assert late.replayed
    assert await shop.balance(user) == 1030


async def test_a_declined_attempt_stays_declined_after_a_top_up(system: System, shop: Shop) -> None:
    """What the customer was told was declined is not charged by a redelivery when there is money at last."""
    user = await shop.account(5)
    basket, attempt = await shop.basket(user)
    assert (await shop.order(user, basket, 10, attempt)).status == 200
    assert await system.settled(basket) == "open"
    await shop.deposit(user, 100)

    event = f"{basket}.{attempt}"
    await system.delivered("billing-handler", event)
    system.topics.replay([await system.emitted(PAYMENTS, event), await system.emitted(RESULTS, event)])

    assert set(await system.delivered("billing-handler", event, times=3)) == {"declined", "replayed"}
    assert await shop.balance(user) == 105
    assert await system.notified(user, 1) == [(event, "declined")]
    assert (await system.basket(basket))["status"] == "open"


async def test_an_order_repeated_after_its_decline_with_its_attempt_is_not_tried_again(
    system: System, shop: Shop
) -> None:
    """A late copy of the POST is answered with the decline and its reason, though it could be paid by now."""
    user = await shop.account(5)
    basket, attempt = await shop.basket(user)
    await shop.order(user, basket, 10, attempt)
    assert await system.settled(basket) == "open"
    await shop.deposit(user, 100)

    again = await shop.order(user, basket, 10, attempt)

    assert (again.status, again.replayed) == (200, True)
    assert again.body["message"] == "declined: insufficient funds"
    assert (again.body["attempt"], again.body["order_status"]) == (1, "open")
    assert (await system.basket(basket))["attempt"] == 1
    assert await shop.balance(user) == 105


async def test_an_order_repeated_after_its_decline_without_an_attempt_is_a_new_order(
    system: System, shop: Shop
) -> None:
    """The documented limit: only the attempt tells a late copy from a customer who tries again."""
    user = await shop.account(5)
    basket, _ = await shop.basket(user)
    await shop.order(user, basket, 10)
    assert await system.settled(basket) == "open"
    await shop.deposit(user, 100)

    again = await shop.order(user, basket, 10)

    assert (again.status, again.replayed, again.body["attempt"]) == (200, False, 2)
    assert await system.settled(basket) == "paid"
    assert await shop.balance(user) == 95


async def test_a_late_decision_of_an_older_attempt_does_not_settle_the_later_one(system: System, shop: Shop) -> None:
    """The decline comes again while the second attempt, for the same sum, is under way: it stays so, and is paid."""
    user = await shop.account(5)
    basket, attempt = await shop.basket(user)
    await shop.order(user, basket, 10, attempt)
    assert await system.settled(basket) == "open"
    declined = PaymentDecided.FromString((await system.emitted(RESULTS, f"{basket}.1")).value or b"")
    await shop.deposit(user, 100)

    with system.frozen(KAFKA_SOURCE):
        assert (await shop.order(user, basket, 10, attempt + 1)).status == 200
        assert await system.post("order-handler", declined) == 200
        assert (await system.basket(basket))["status"] == "ordered"

    assert await system.settled(basket) == "paid"
    assert await system.notified(user, 2) == [(f"{basket}.1", "declined"), (f"{basket}.2", "paid")]


async def test_events_of_past_attempts_and_baskets_in_any_order_change_nothing(system: System, shop: Shop) -> None:
    """A decline, its second attempt paid, the next basket paid: then all of it again, backwards and at once."""
    user = await shop.account(5)
    first, attempt = await shop.basket(user)
    await shop.order(user, first, 50, attempt)
    assert await system.settled(first) == "open"
    await shop.deposit(user, 100)
    assert await system.pay(user, 50) == first
    second = await system.pay(user, 50)
    ids = [f"{second}.1", f"{first}.2", f"{first}.1"]
    await system.notified(user, 3)
    before = await system.account(user), await system.basket(first), await system.basket(second)

    requested = [PaymentRequested.FromString((await system.emitted(PAYMENTS, id_)).value or b"") for id_ in ids]
    decided = [PaymentDecided.FromString((await system.emitted(RESULTS, id_)).value or b"") for id_ in ids]
    statuses = await asyncio.gather(
        *(system.post("order-handler", event) for event in decided * 5),
        *(system.post("notify-handler", event) for event in decided * 5),
        *(system.post("billing-handler", event) for event in requested * 5),
    )

    assert set(statuses) == {200}
    assert (await system.account(user), await system.basket(first), await system.basket(second)) == before
    assert await shop.balance(user) == 5
    assert await shop.notifications(user) == sorted([(ids[0], "paid"), (ids[1], "paid"), (ids[2], "declined")])


async def test_old_baskets_replayed_from_beyond_the_archive_change_nothing(system: System, shop: Shop) -> None:
    """The array crosses its limit twice; all payments again, archived or not, are answered as before."""
    user = await shop.account(0)
    for key in range(7):
        await shop.deposit(user, 100, f"key-{key}")
    baskets = [await system.pay(user, 10) for _ in range(7)]
    ids = [f"{basket}.1" for basket in baskets]
    for id_ in ids:
        await system.delivered("billing-handler", id_)
    account = await system.account(user)
    assert account["archived_through"] >= 4, "the array never crossed its limit twice"
    assert account["archived"]["deposits"] >= 4

    system.topics.replay([await system.emitted(PAYMENTS, id_) for id_ in ids])

    for id_ in ids:
        assert set(await system.delivered("billing-handler", id_, times=3)) == {"paid", "replayed"}
    replies = [await shop.deposit(user, 100, f"key-{key}") for key in range(7)]
    assert all(reply.replayed for reply in replies)
    assert await shop.balance(user) == 7 * 100 - 7 * 10
    assert await system.notified(user, 7) == sorted((id_, "paid") for id_ in ids)


NAMES = ["Павел", "$balance", "$$NOW", "名前 с пробелом 🛒", 'a"b\\c{}.$', "x" * 128]


@pytest.mark.parametrize("name", NAMES, ids=["Cyrillic", "field", "variable", "many scripts", "punctuation", "long"])
async def test_a_customer_of_any_name_is_served(system: System, shop: Shop, name: str) -> None:
    """Names of any script, names of MongoDB's fields and variables, and long ones go all the way."""
    user = await shop.account(100, name)

    basket = await system.pay(user, 40)

    assert await shop.balance(user) == 60
    assert await system.notified(user, 1) == [(f"{basket}.1", "paid")]
    assert (await shop.list_notifications(user)).body["log"] == [f"user {user} result true"]


async def test_an_order_for_a_user_without_account_is_declined_and_paid_once_there_is_one(
    system: System, shop: Shop
) -> None:
    """The decline of an unknown user is remembered, and is not in the way of the account made later."""
    user = new_user()
    basket, attempt = await shop.basket(user)
    await shop.order(user, basket, 10, attempt)
    assert await system.settled(basket) == "open"
    assert (await shop.get_order(user, basket)).body["reason"] == "unknown user"

    await shop.account(10, user)

    assert await system.pay(user, 10) == basket
    assert await shop.balance(user) == 0
