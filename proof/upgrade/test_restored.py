"""The databases that 67d5614 left, restored under the new release: what it emitted is of before the restore."""

from typing import Any

from pymongo import MongoClient

from local.servers.mongodb import Mongod
from proof.upgrade import books, kept
from proof.upgrade.served import TICK, Functions, headers_of, setup
from tests.support.sink import Sink


async def test_after_a_restore_what_67d5614_emitted_is_refused_and_what_it_left_ordered_is_paid(
    shop: Functions, client: MongoClient[Any], mongod: Mongod
) -> None:
    """No event of its topics is acted on any more, and none needs to be: orders asks for what is open by itself."""
    code, said = await setup(mongod.uri, "--restored")
    assert code == 0, said
    before = kept.stored(client)
    async with Sink() as sink, Functions(mongod.uri, sink) as restored:
        await restored.start("billing_handler", "order_handler", "notify_handler", "resend_orders")
        for delivery in kept.deliveries():
            answer = await restored.deliver(delivery.function, headers_of(delivery.event), delivery.event.data or b"")
            assert answer.status == 422
            if b"not protobuf" not in (delivery.event.data or b""):
                assert answer.body.startswith("older_epoch: emitted before the restore of ")
        assert restored.emitted() == []
        assert kept.stored(client) == before

        assert (await restored.deliver("resend_orders", TICK, b"")).status == 200
        assert await restored.settle() == []
        waiting = ("ordered", "ordered again")
        assert books.wrong(client) == {user: known for user, known in books.KNOWN.items() if user not in waiting}
        entry = client.billing.users.find_one({"_id": "ordered"})["paid_baskets"][-1]
        assert entry["epoch"] == client.billing.meta.find_one({"_id": "epoch"})["epoch"] > 0


async def test_an_old_function_left_over_from_before_a_restore_is_not_believed(
    shop: Functions, yesterday: Functions, client: MongoClient[Any], mongod: Mongod
) -> None:
    """It knows no epoch, so what it emits is refused; a new one tells the same decision, which counts."""
    code, said = await setup(mongod.uri, "--restored")
    assert code == 0, said
    async with Sink() as sink, Functions(mongod.uri, sink) as restored:
        await restored.start("billing_handler", "order_handler", "notify_handler", "resend_orders")
        await restored.deliver("resend_orders", TICK, b"")
        asked = restored.emitted()
        assert len(asked) == 2
        for headers, data in asked:
            assert (await yesterday.deliver("billing_handler", headers, data)).status == 200
        for headers, data in yesterday.emitted():
            for name in ("order_handler", "notify_handler"):
                assert (await restored.deliver(name, headers, data)).status == 422
        for headers, data in asked:
            assert (await restored.deliver("billing_handler", headers, data)).status == 200
        assert await restored.settle() == []
        assert not books.wrong(client).keys() & {"ordered", "ordered again"}
