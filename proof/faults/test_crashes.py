"""A function dies (SIGKILL) between its write to MongoDB and its emission: the state knows what is still to be said.

The window is made by freezing the sink: a function that has written then waits for it, up to 2 s. The sink is killed,
too, for otherwise it would find the request in its socket when it goes on.
"""

import asyncio
from contextlib import ExitStack

import aiohttp

from local.stack import KAFKA_SINK, KAFKA_SOURCE
from proof.faults.customers import Reply, Shop
from proof.faults.system import Document, System
from proof.faults.topics import PAYMENTS, RESULTS
from proof.faults.waiting import eventually


async def test_an_order_whose_function_dies_before_it_emits_is_paid_by_resend(system: System, shop: Shop) -> None:
    """The customer sees an error; the basket is ordered and nothing was emitted, until resend does."""
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)

    with system.frozen(KAFKA_SINK):
        ordering = asyncio.create_task(_order(shop, user, basket, attempt))
        await eventually(lambda: _is(system, basket, "ordered"))
        await system.stack.kill("create-order")
        await system.stack.kill(KAFKA_SINK)
    reply = await ordering
    await system.stack.wait_ready(KAFKA_SINK, "create-order")

    assert reply is None or reply.status >= 500
    assert not system.topics.records(PAYMENTS, f"{basket}.1")
    await system.resend(user)
    assert await system.settled(basket) == "paid"
    again = await shop.order(user, basket, 10, attempt)
    assert (again.status, again.replayed, again.body["message"]) == (200, True, "paid")
    assert await shop.balance(user) == 90


async def test_a_charge_whose_function_dies_before_it_emits_is_told_at_redelivery(system: System, shop: Shop) -> None:
    """KafkaSource got no answer and delivers again; the decision is read from the account, and nothing charged."""
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)

    with ExitStack() as frozen:
        with system.frozen(KAFKA_SOURCE):
            assert (await shop.order(user, basket, 10, attempt)).status == 200
            frozen.enter_context(system.frozen(KAFKA_SINK))
        await eventually(lambda: _has_paid(system, user, 1))
        with system.frozen(KAFKA_SOURCE):  # it would give up after 6 s, and a busy machine may start a function later
            await system.stack.kill("billing-handler")
            await system.stack.kill(KAFKA_SINK)
            await system.stack.wait_ready(KAFKA_SINK, "billing-handler")
            assert not system.topics.records(RESULTS, f"{basket}.1")
            assert (await system.basket(basket))["status"] == "ordered"

    assert await system.settled(basket) == "paid"
    assert await shop.balance(user) == 90
    assert await system.notified(user, 1) == [(f"{basket}.1", "paid")]


async def test_a_resend_that_dies_between_its_claim_and_its_emission_is_made_up_for_by_a_later_one(
    system: System, shop: Shop
) -> None:
    """The claim put the basket off; once it is due again, it is sent."""
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)
    with system.frozen(KAFKA_SINK):
        assert (await shop.order(user, basket, 10, attempt)).status == 200
        claimed_before = (await system.basket(basket))["resend_at"]
        await system.make_due(user)
        ticking = asyncio.create_task(system.tick())
        await eventually(lambda: _is_put_off(system, basket, claimed_before))
        await system.stack.kill("resend-orders")
        await system.stack.kill(KAFKA_SINK)
    await system.stack.wait_ready(KAFKA_SINK, "resend-orders")
    await ticking  # lost, or by its retry: the function is back, and nothing is due
    assert not system.topics.records(PAYMENTS, f"{basket}.1")

    await system.resend(user)

    assert await system.settled(basket) == "paid"
    assert await shop.balance(user) == 90


async def _order(shop: Shop, user: str, basket: str, attempt: int) -> Reply | None:
    try:
        return await shop.order(user, basket, 10, attempt)
    except aiohttp.ClientError:
        return None


async def _is(system: System, basket: str, status: str) -> bool:
    return bool((await system.basket(basket))["status"] == status)


async def _is_put_off(system: System, basket: str, before: object) -> bool:
    stored: Document = await system.basket(basket)
    return bool(stored["resend_at"] > before)


async def _has_paid(system: System, user: str, count: int) -> bool:
    return len((await system.account(user)).get("paid_baskets", [])) == count
