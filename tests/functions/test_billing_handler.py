"""billing_handler charges a request once, and answers each delivery of it with the same decision."""

from collections.abc import Callable

from tests.functions.conftest import Client, everything


async def test_each_delivery_emits_the_same_decision_and_charges_once(client: Client) -> None:
    """The first decision may be lost on its way, so the second delivery says it again, byte for byte."""
    await client.user(balance=100)
    events = await client.ordered(10)
    for _ in range(2):
        assert (await client.bring("billing_handler", events["PaymentRequested"])).status == 200
    assert [event.body for event in client.sink.received] == [events["PaymentDecided"].body] * 2
    assert await client.balance() == 90


async def test_a_decline_is_emitted_as_often_and_takes_nothing(client: Client) -> None:
    """It stays declined, although there is money by now."""
    await client.user(balance=5)
    events = await client.ordered(10)
    await client.post("/DepositCash", {"user": "Pavel", "sum": 100})
    assert (await client.bring("billing_handler", events["PaymentRequested"])).status == 200
    assert [event.body for event in client.sink.received] == [events["PaymentDecided"].body]
    assert await client.balance() == 105


async def test_without_a_sink_nothing_is_charged(client: Client, configure: Callable[..., None]) -> None:
    """A decision that nobody would hear of is not made; KafkaSource comes again."""
    await client.user(balance=100)
    basket = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    (requested,) = client.sink.received
    before = await everything()
    configure(sink=None)
    assert (await client.bring("billing_handler", requested)).status == 503
    assert await everything() == before
