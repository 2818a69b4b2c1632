"""Each consumer keeps out events of before a restore; what is emitted is of the epoch that its process began in."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from bson import Int64

from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from shop.store.client import collection
from tests.functions.conftest import Client, everything
from tests.support.asgi import call
from tests.support.functions import triggered
from tests.support.sink import Received

RESTORED_AT = datetime(2026, 11, 26, 20, 15, tzinfo=UTC)

CONSUMERS = {
    name: function.label.takes.DESCRIPTOR.name for name, function in triggered("event").items() if function.label.takes
}


async def begin(client: Client, epoch: int) -> None:
    """Begin an epoch, as `shop.setup --restored` does, with processes that start after it."""
    for service in ("orders", "billing", "notify"):
        await collection(service, "meta").replace_one(
            {"_id": "epoch"}, {"_id": "epoch", "epoch": Int64(epoch), "restored_at": RESTORED_AT}, upsert=True
        )
    client.start_anew()


@pytest.fixture(autouse=True)
async def epochs(shop: None) -> AsyncIterator[None]:
    """Leave no epoch behind."""
    yield
    for service in ("orders", "billing", "notify"):
        await collection(service, "meta").delete_many({})


async def ordered(client: Client) -> dict[str, Received]:
    """Order what there is money for, and return its events, by their kinds."""
    await client.user(balance=100)
    return await client.ordered()


@pytest.mark.parametrize("consumer", CONSUMERS)
async def test_08_an_event_of_before_a_restore_is_refused_and_changes_nothing(client: Client, consumer: str) -> None:
    """It was charged: 60 instead of 90. The text says what it is, and that nothing has to be done about it."""
    event = (await ordered(client))[CONSUMERS[consumer]]
    await begin(client, 1)
    before = await everything()
    answer = await client.bring(consumer, event)
    assert answer.status == 422
    said = "emitted before the restore of 2026-11-26T20:15:00Z; what is still open is asked for again"
    assert answer.text == f"older_epoch: {said}"
    assert await everything() == before


@pytest.mark.parametrize("consumer", CONSUMERS)
async def test_an_event_of_after_a_restore_is_answered_later_by_a_process_of_before(
    client: Client, consumer: str
) -> None:
    """503: another process takes it, one that began after the restore."""
    await begin(client, 2)
    event = (await ordered(client))[CONSUMERS[consumer]]
    await begin(client, 1)
    before = await everything()
    answer = await client.bring(consumer, event)
    assert (answer.status, "start another" in answer.text) == (503, True)
    assert await everything() == before


async def test_a_process_stays_in_the_epoch_that_it_began_in(client: Client) -> None:
    """It read the epoch before its first message: what it emits after a restore is known to be of before."""
    await client.user()
    basket = await client.basket()
    for service in ("orders", "billing", "notify"):
        await collection(service, "meta").insert_one({"_id": "epoch", "epoch": Int64(1), "restored_at": RESTORED_AT})
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    assert PaymentRequested.FromString(client.sink.received[0].body).epoch == 0


async def test_what_is_open_after_a_restore_is_paid_in_its_epoch(client: Client) -> None:
    """Asked for again by resend, decided, settled and notified; every event says the epoch, the ids stay."""
    old = await ordered(client)
    await collection("billing", "users").update_one(
        {"_id": "Pavel"}, {"$set": {"balance": Int64(100), "paid_baskets": []}}
    )  # as it was before the decision
    await begin(client, 1)
    await collection("orders", "baskets").update_many({}, {"$set": {"resend_at": RESTORED_AT}})
    assert (await call("resend_orders", body=b"{}")).status == 200
    (requested,) = client.sink.received
    assert requested.header("ce-id") == old["PaymentRequested"].header("ce-id")
    assert PaymentRequested.FromString(requested.body).epoch == 1
    assert (await client.bring("billing_handler", requested)).status == 200
    decided = client.sink.received[1]
    assert PaymentDecided.FromString(decided.body).epoch == 1
    for consumer in ("order_handler", "notify_handler"):
        assert (await client.bring(consumer, old["PaymentDecided"])).status == 422
        assert (await client.bring(consumer, decided)).status == 200
    assert await client.balance() == 90
    assert (await client.get("/List", {"user": "Pavel"})).json["log"] == ["user Pavel result true"]


async def test_07_an_outcome_that_is_not_known_yet_is_asked_for_later(client: Client) -> None:
    """It went to the dead letters at once, and the notification was lost: a newer producer, during a rollout."""
    decided = (await ordered(client))["PaymentDecided"]
    event, headers = PaymentDecided.FromString(decided.body), decided.headers
    event.outcome = 7
    for consumer in ("order_handler", "notify_handler"):
        answer = await call(consumer, headers=headers, body=event.SerializeToString())
        assert (answer.status, "not known here yet" in answer.text) == (503, True)
    event.outcome = 0
    assert (await call("notify_handler", headers=headers, body=event.SerializeToString())).status == 422


@pytest.mark.parametrize("source", ["/evil", "/billing", "/orders/", "http://orders"])
async def test_07_a_request_for_payment_from_elsewhere_is_not_charged(client: Client, source: str) -> None:
    """Each kind of event has one source; one from /evil was charged."""
    event = (await ordered(client))["PaymentRequested"]
    await client.basket()
    before = await everything()
    headers = [(name, source if name == "ce-source" else value) for name, value in event.headers]
    answer = await call("billing_handler", headers=headers, body=event.body)
    assert (answer.status, source in answer.text) == (422, True)
    assert await everything() == before
