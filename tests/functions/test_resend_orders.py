"""The resend loop: what is due is emitted again as it was, and neither an outage nor much work makes a tick go on."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from bson import Int64, ObjectId
from pymongo.asynchronous.collection import AsyncCollection

from functions.resend_orders import main as resend_orders
from shop import orders
from shop.errors import Code, Unavailable
from shop.schema.events_pb2 import PaymentRequested
from shop.store.client import DEADLINE_S, Document, collection, deadline
from tests.functions.conftest import Client
from tests.support.asgi import Answer, call
from tests.support.commands import counted
from tests.support.sink import Received, Sink


def baskets() -> AsyncCollection[Document]:
    return collection("orders", "baskets")


async def ordered(client: Client, user: str = "Pavel", *, age_s: float = 120) -> Received:
    """Order a basket, let its event be lost, and make it look that old, due since half of its age."""
    basket = await client.basket(user)
    assert (await client.post("/Order", {"user": user, "sum": 10, "basket": basket, "attempt": 1})).status == 200
    now = datetime.now(UTC)
    times = {"ordered_at": now - timedelta(seconds=age_s), "resend_at": now - timedelta(seconds=age_s / 2)}
    await baskets().update_one({"_id": ObjectId(basket)}, {"$set": times})
    return client.sink.received.pop()


async def tick() -> Answer:
    """Tick, as a PingSource does."""
    return await call("resend_orders", headers=[("ce-id", "tick"), ("ce-type", "dev.knative.sources.ping")])


def emitted(sink: Sink) -> list[str]:
    """Return whose events were emitted, in order."""
    return [PaymentRequested.FromString(event.body).user for event in sink.received]


async def resend_at(user: str = "Pavel") -> datetime:
    basket = await baskets().find_one({"user": user})
    assert basket is not None
    at: datetime = basket["resend_at"]
    return at


async def test_what_is_due_is_emitted_again_under_its_id(client: Client) -> None:
    """The stored order, byte for byte: only its time is another here, for the test made it look older."""
    lost = await ordered(client)
    assert (await tick()).status == 200
    (again,) = client.sink.received
    assert again.header("ce-id") == lost.header("ce-id")
    first, second = PaymentRequested.FromString(lost.body), PaymentRequested.FromString(again.body)
    second.ordered_at.CopyFrom(first.ordered_at)
    assert second == first


async def test_that_it_had_to_act_is_a_warning(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """With how many there were, and the age of the oldest; a tick that has nothing to do says none."""
    await tick()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    for number in range(2):
        await ordered(client, f"user {number}", age_s=100 + number)
    await tick()
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    fields = warning.__dict__["fields"]
    assert fields["resent"] == 2
    assert 101 <= fields["oldest_s"] < 150


async def test_one_tick_emits_all_that_is_due_the_longest_waiting_first(client: Client) -> None:
    """And each once: a claim puts it off."""
    for number in range(5):
        await ordered(client, f"user {number}", age_s=100 + 10 * number)
    assert (await tick()).status == 200
    assert emitted(client.sink) == [f"user {number}" for number in (4, 3, 2, 1, 0)]
    assert (await tick()).status == 200
    assert len(client.sink.received) == 5


async def test_what_is_not_due_or_not_on_its_way_is_left_alone(client: Client) -> None:
    """Just ordered, open, paid."""
    user = await client.user(balance=100)
    basket = await client.basket(user)
    await client.post("/Order", {"user": user, "sum": 10, "basket": basket})
    await tick()
    assert len(client.sink.received) == 1  # the order's own
    await client.deliver()  # paid
    await client.basket("Ann")  # open
    await baskets().update_many({}, {"$set": {"resend_at": datetime.now(UTC) - timedelta(hours=1)}})
    await tick()
    assert client.sink.received == []


async def test_the_first_failure_ends_the_tick_which_is_no_error(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is not amplified, PingSource does not try again, and the others keep their turn."""
    for number in range(3):
        await ordered(client, f"user {number}", age_s=100 + 10 * number)
    before = [await resend_at(f"user {number}") for number in range(3)]
    client.sink.answers = [202, 503]
    with caplog.at_level(logging.WARNING):
        assert (await tick()).status == 200
    assert emitted(client.sink) == ["user 2", "user 1"]
    assert "stopped until the next tick: the sink answered 503" in caplog.text
    assert await resend_at("user 0") == before[0]
    assert await resend_at("user 2") > datetime.now(UTC)


async def test_21_what_was_claimed_and_not_emitted_is_due_at_the_next_tick(client: Client) -> None:
    """However old it is: it was its turn, and it has not been sent."""
    await ordered(client, age_s=45 * 60)
    client.sink.answers = [503]
    await tick()
    assert await resend_at() <= datetime.now(UTC) + timedelta(seconds=1)
    client.sink.received.clear()
    await tick()
    assert emitted(client.sink) == ["Pavel"]
    assert await resend_at() > datetime.now(UTC) + timedelta(minutes=40)


async def test_21_what_was_settled_meanwhile_is_not_made_due_again(client: Client) -> None:
    """Its emission had failed, yet the event was stored: the decision comes before the basket is made due."""
    event = PaymentRequested.FromString((await ordered(client)).body)
    await baskets().update_one({}, {"$set": {"status": "paid"}, "$unset": {"resend_at": ""}})
    await orders.due_again(event)
    assert "resend_at" not in (await baskets().find_one({}) or {})
    await baskets().update_one({}, {"$set": {"status": "ordered", "attempt": Int64(2), "resend_at": datetime.now(UTC)}})
    later = await resend_at()
    await orders.due_again(event)
    assert await resend_at() == later


async def emit(event: PaymentRequested, _: str | None) -> None:
    """Emit nothing, and say that it went well."""


async def test_a_tick_stops_when_its_time_is_over(client: Client) -> None:
    """What is left is the next tick's, which shares it with whoever still works."""
    for number in range(3):
        await ordered(client, f"user {number}")
    until, resent = time.monotonic() + 1, list[str]()

    async def emit_slowly(event: PaymentRequested, _: str | None) -> None:
        resent.append(event.user)
        await asyncio.sleep(until - time.monotonic())

    assert await orders.resend(emit_slowly, until) == "resent 1, more are due"
    assert resent == ["user 0"]
    assert await orders.resend(emit, until=time.monotonic() + 60) == "resent 2"


async def test_a_database_that_is_away_is_no_error(client: Client) -> None:
    """The next tick is the retry, and PingSource's own five would only be load."""
    await ordered(client)
    with deadline(0.000_001):
        assert await orders.resend(emit, until=time.monotonic() + 60) == "resent 0, then stopped"


async def test_each_claim_has_a_deadline_of_its_own(client: Client) -> None:
    """A tick works longer than MongoDB may take for one request; no claim does."""
    await ordered(client)

    async def fail(event: PaymentRequested, _: str | None) -> None:
        raise Unavailable(Code.SINK_UNAVAILABLE, "the sink is down")

    async with counted() as commands:
        with deadline(resend_orders.DEADLINE_S):
            await orders.resend(fail, until=time.monotonic() + 60)
    assert commands.names == ["find", "findAndModify", "update"]  # the looks, the claim, its return
    assert all(0 < int(str(sent["maxTimeMS"])) <= DEADLINE_S * 1000 for sent in commands.sent)


async def test_without_a_sink_nothing_is_claimed(client: Client, configure: Callable[..., None]) -> None:
    """503, and a repeat within the minute would not help."""
    await ordered(client)
    before = await resend_at()
    configure(sink="")
    answer = await tick()
    assert answer.status == 503
    assert "SinkBinding" in answer.text
    assert await resend_at() == before


async def test_a_get_does_nothing(client: Client) -> None:
    """A PingSource POSTs; a browser that looks by resends nothing."""
    await ordered(client)
    assert (await call("resend_orders", "GET")).status == 405
    assert client.sink.received == []


async def test_what_is_long_paid_costs_a_tick_nothing(client: Client) -> None:
    """Its index holds the ordered baskets alone, however many years of paid ones there are."""
    indexes = await baskets().index_information()
    assert indexes["resend_at_ordered"]["partialFilterExpression"] == {"status": "ordered"}
