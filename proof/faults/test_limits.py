"""What does not heal by itself: a decision that is gone."""

import asyncio

import pytest

from local.stack import KAFKA_SOURCE
from proof.faults.customers import Shop
from proof.faults.system import System
from proof.faults.topics import PAYMENTS, RESULTS
from proof.faults.waiting import eventually
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested


@pytest.mark.ci
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
