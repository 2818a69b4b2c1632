"""Kafka is down, MongoDB is down, a consumer is slow, baskets are hopeless: each hurts only what needs it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from bson import Int64, ObjectId

from local.stack import KAFKA, KAFKA_SINK, MONGOD
from proof.faults.customers import Shop, new_user
from proof.faults.system import System
from proof.faults.topics import PAYMENTS
from proof.faults.waiting import eventually


@pytest.mark.ci
async def test_an_order_made_while_kafka_is_down_is_accepted_and_paid_once_it_is_back(
    system: System, shop: Shop
) -> None:
    """200 after the 2 s that an emission may take; resend does what the emission could not."""
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)
    await system.stack.stop_part(KAFKA)

    reply = await shop.order(user, basket, 10, attempt)
    again = await shop.order(user, basket, 10, attempt)
    await system.stack.kill(KAFKA_SINK)  # it would go on trying, and store the event late
    await system.stack.start_part(KAFKA)
    await system.stack.wait_ready(KAFKA_SINK)

    assert (reply.status, reply.body["order_status"]) == (200, "ordered")
    assert (again.status, again.replayed) == (200, True)
    assert (await system.basket(basket))["status"] == "ordered"
    assert await system.healed(user, basket) == "paid"
    assert await shop.balance(user) == 90
    assert await system.notified(user, 1) == [(f"{basket}.1", "paid")]


async def test_while_mongodb_is_down_every_request_is_answered_503_and_nothing_is_half_done(
    system: System, shop: Shop
) -> None:
    """503, to be repeated where that is safe; an event waits; after it all requests work as if for the first time."""
    user, other = await shop.account(100), new_user()
    basket, attempt = await shop.basket(user)
    paid = await system.pay(await shop.account(10), 10)
    record = await system.emitted(PAYMENTS, f"{paid}.1")
    handled = len(await system.delivered("billing-handler", record.id))
    await system.stack.stop_part(MONGOD)

    system.topics.send(record)
    replies = dict(
        zip(
            ("create", "deposit", "keyless", "get user", "get basket", "order", "get order", "list"),
            await asyncio.gather(
                shop.create_user(other),
                shop.deposit(user, 7, "a-key"),
                shop.deposit(user, 7),
                shop.get_user(user),
                shop.get_basket(user),
                shop.order(user, basket, 10, attempt),
                shop.get_order(user, basket),
                shop.list_notifications(user),
            ),
            strict=True,
        )
    )
    await system.stack.start_part(MONGOD)

    assert {name: reply.status for name, reply in replies.items()} == dict.fromkeys(replies, 503)
    repeatable = {name for name, reply in replies.items() if "Retry-After" in reply.headers}
    assert repeatable == set(replies) - {"keyless"}
    assert "unknown" in replies["keyless"].body["message"]
    assert all(reply.body["status"] is False for reply in replies.values())

    assert (await eventually(lambda: _ok(shop, user))) == 100
    assert (await system.basket(basket))["status"] == "open"
    assert await system.collection("billing.users").count_documents({"_id": other}) == 0
    assert (await shop.deposit(user, 7, "a-key")).body["balance"] == 107
    assert await system.pay(user, 10) == basket
    assert await shop.balance(user) == 97
    await system.resend()
    outcomes = await system.delivered("billing-handler", record.id, times=handled + 1)
    assert set(outcomes) <= {"paid", "replayed", "unavailable"}


async def _ok(shop: Shop, user: str) -> int | None:
    """Return the balance, once the function has found MongoDB again."""
    reply = await shop.get_user(user)
    return reply.body["balance"] if reply.status == 200 else None


async def test_a_slow_consumer_does_not_delay_the_one_beside_it(system: System, shop: Shop) -> None:
    """While notify_handler hangs, with more than its 50 events in flight, every order is settled; it catches up."""
    users = [await shop.account(100) for _ in range(60)]

    with system.frozen("notify-handler"):
        baskets = await asyncio.gather(*(system.pay(user, 10) for user in users))
        assert not await shop.notifications(users[-1])

    for user, basket in zip(users, baskets, strict=True):
        assert await system.notified(user, 1) == [(f"{basket}.1", "paid")]


async def test_a_hundred_hopeless_baskets_do_not_starve_resend(system: System, shop: Shop) -> None:
    """Each is refused by billing whenever it is sent; one tick sends them and the good one, and puts them off."""
    hopeless = [new_user() for _ in range(100)]
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    baskets = [
        {
            "_id": ObjectId(),
            "user": user,
            "number": Int64(1),
            "status": "ordered",
            "attempt": Int64(2),
            "sum": Int64(10),
            "ordered_at": long_ago,
            "resend_at": long_ago,
        }
        for user in hopeless
    ]
    # As billing restored from another backup would have it: it has not declined the attempt before.
    await system.collection("billing.users").insert_many([{"_id": user, "balance": Int64(100)} for user in hopeless])
    await system.collection("orders.baskets").insert_many(baskets)
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)
    with system.frozen(KAFKA_SINK):
        assert (await shop.order(user, basket, 10, attempt)).status == 200
        await system.stack.kill(KAFKA_SINK)
    await system.stack.wait_ready(KAFKA_SINK)

    await system.resend(user)

    assert await system.settled(basket) == "paid"
    ids = [f"{stored['_id']}.2" for stored in baskets]
    for id_ in ids:
        await system.emitted(PAYMENTS, id_)
        assert len(system.topics.emissions(PAYMENTS, id_)) == 1
    put_off = await system.collection("orders.baskets").find({"user": {"$in": hopeless}}).to_list()
    # Their age is an hour, and so is their next wait.
    assert all(stored["resend_at"] > long_ago + timedelta(minutes=110) for stored in put_off)
    assert "attempt 1 was never declined" in system.reason(await system.dead_letter(ids[0], "billing-handler"))


async def test_while_a_token_has_expired_orders_are_accepted_and_paid_once_it_is_replaced(
    system: System, shop: Shop
) -> None:
    """The sinks answer 401, as Eventing does: the log says what to do, and resend does what the emission could not."""
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)
    system.mount("expired")
    system.demand("fresh")
    try:
        reply = await shop.order(user, basket, 10, attempt)
        assert (reply.status, reply.body["order_status"]) == (200, "ordered")
        assert "the sink answered 401: Eventing demands a token" in system.stack.log_file("create-order").read_text()
        await system.resend(user)
        assert (await system.basket(basket))["status"] == "ordered"
        system.mount("fresh")
        assert await system.healed(user, basket) == "paid"
    finally:
        system.demand()
    assert await shop.balance(user) == 90
    assert await system.notified(user, 1) == [(f"{basket}.1", "paid")]
