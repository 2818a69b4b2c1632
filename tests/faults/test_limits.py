"""What does not heal by itself: a decision that is gone, and a database restored from an older backup."""

import asyncio

from local.stack import KAFKA_SOURCE
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from tests.faults.customers import Shop
from tests.faults.system import System
from tests.faults.topics import PAYMENTS, RESULTS
from tests.faults.waiting import eventually


async def test_a_notification_whose_decision_is_gone_comes_back_only_by_redrive(system: System, shop: Shop) -> None:
    """The basket is settled, so resend asks for nothing; the decision delivered again to notify_handler is recorded."""
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)
    id_ = f"{basket}.{attempt}"
    with system.frozen(KAFKA_SOURCE):
        assert (await shop.order(user, basket, 10, attempt)).status == 200
        requested = PaymentRequested.FromString((await system.emitted(PAYMENTS, id_)).value or b"")
        assert await system.post("billing-handler", requested) == 200
        decided = PaymentDecided.FromString((await system.emitted(RESULTS, id_)).value or b"")
        assert await system.post("order-handler", decided) == 200
        await eventually(lambda: _repeated(system, id_))
        await system.stack.kill(KAFKA_SOURCE)
        for topic in (PAYMENTS, RESULTS):  # as retention would, or a dead letter that nobody redrives
            await asyncio.to_thread(system.topics.expire, topic)
    await system.stack.wait_ready(KAFKA_SOURCE)
    await system.resend(user)
    await system.pay(await shop.account(10), 10)
    await system.drained()
    assert (await system.basket(basket))["status"] == "paid"
    assert await shop.notifications(user) == []

    assert await system.post("notify-handler", decided) == 200

    assert await shop.notifications(user) == [(id_, "paid")]
    assert await shop.balance(user) == 90


async def _repeated(system: System, id_: str) -> bool:
    """Whether both events have come their second time too, so that none comes after this."""
    return all(len(system.topics.records(topic, id_)) == 2 for topic in (PAYMENTS, RESULTS))


async def test_billing_restored_from_an_older_backup_charges_again_what_the_topic_still_holds(
    system: System, shop: Shop
) -> None:
    """The replay charges the basket anew, once; only the notification contradicts, by the time of the decision."""
    user = await shop.account(100)
    backup = await system.account(user)
    basket = await system.pay(user, 10)
    id_ = f"{basket}.1"
    await system.notified(user, 1)
    await system.delivered("billing-handler", id_)
    await system.collection("billing.users").replace_one({"_id": user}, backup)
    assert await shop.balance(user) == 100, "the shop says paid, yet nobody was charged"

    record = await system.emitted(PAYMENTS, id_)
    system.topics.replay([record, record])

    letter = await system.dead_letter(id_, "notify-handler")
    assert "was notified with decided_at" in system.reason(letter)
    await system.delivered("billing-handler", id_, times=4)
    assert await shop.balance(user) == 90
    assert (await system.basket(basket))["status"] == "paid"


async def test_orders_restored_from_an_older_backup_are_ordered_again_without_a_second_charge(
    system: System, shop: Shop
) -> None:
    """The basket is open again; ordered for the same sum it is answered with the charge that there was."""
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)
    backup = await system.basket(basket)
    await system.pay(user, 10)
    await system.collection("orders.baskets").replace_one({"_id": backup["_id"]}, backup)

    assert await shop.basket(user) == (basket, attempt)
    assert await system.pay(user, 10) == basket

    assert await shop.balance(user) == 90
    assert await system.notified(user, 1) == [(f"{basket}.1", "paid")]


async def test_orders_restored_from_an_older_backup_and_ordered_for_another_sum_are_found_in_the_dead_letters(
    system: System, shop: Shop
) -> None:
    """Billing refuses to charge twice or to confirm a sum it did not charge; the letter has both sums."""
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)
    backup = await system.basket(basket)
    await system.pay(user, 10)
    await system.collection("orders.baskets").replace_one({"_id": backup["_id"]}, backup)

    assert (await shop.order(user, basket, 20, attempt)).status == 200

    reason = system.reason(await system.dead_letter(f"{basket}.1", "billing-handler"))
    assert "attempt 1 was ordered for 20, yet decided for 10" in reason
    assert await shop.balance(user) == 90
    assert (await system.basket(basket))["status"] == "ordered"


async def test_a_basket_missing_from_restored_orders_is_found_in_the_dead_letters(system: System, shop: Shop) -> None:
    """Its decision, delivered again, says which user was charged for which basket."""
    user = await shop.account(100)
    basket = await system.pay(user, 10)
    await system.collection("orders.baskets").delete_one({"user": user})

    system.topics.replay([await system.emitted(RESULTS, f"{basket}.1")])

    reason = system.reason(await system.dead_letter(f"{basket}.1", "order-handler"))
    assert f"user {user} has no basket {basket}, yet billing decided about it" in reason
