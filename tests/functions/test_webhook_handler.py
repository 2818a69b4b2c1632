"""webhook_handler tells receivers of decisions, and leaves to KafkaSource what they do not take."""

from collections.abc import AsyncIterator, Callable

import pytest

from shop.process.settings import Webhooks
from tests.functions.conftest import Client, everything
from tests.support.sink import Sink


@pytest.fixture
async def receiver(client: Client, configure: Callable[..., None]) -> AsyncIterator[Sink]:
    """Be told of decisions."""
    async with Sink() as receiver:
        configure(webhooks=Webhooks((receiver.url,), (b"s" * 24,), private=True))
        yield receiver


async def test_a_decision_is_told_as_often_as_it_is_delivered(client: Client, receiver: Sink) -> None:
    """Under one id, which is how the receiver knows; nothing is stored and nothing emitted."""
    await client.user(balance=100)
    event = (await client.ordered())["PaymentDecided"]
    before = await everything()
    for _ in range(2):
        assert (await client.bring("webhook_handler", event)).status == 200
    names = {each.header("webhook-id") for each in receiver.received}
    assert names == {(event.header("ce-id") or "").replace(".", "_")}
    assert len(receiver.received) == 2
    assert await everything() == before
    assert client.sink.received == []


async def test_what_is_not_taken_is_answered_503_with_the_reason(client: Client, receiver: Sink) -> None:
    """KafkaSource tries again for an hour, and keeps it with the reason after that."""
    await client.user(balance=100)
    event = (await client.ordered())["PaymentDecided"]
    receiver.answers = [404]
    answer = await client.bring("webhook_handler", event)
    assert (answer.status, answer.text) == (
        503,
        "webhook_not_taken: 127.0.0.1: answered 404; it is sent again under the same id",
    )
    assert (await client.bring("webhook_handler", event)).status == 200


async def test_without_a_receiver_it_takes_its_event_and_does_nothing(client: Client) -> None:
    """The component may be there before anybody wants to be told."""
    await client.user(balance=100)
    event = (await client.ordered())["PaymentDecided"]
    before = await everything()
    assert (await client.bring("webhook_handler", event)).status == 200
    assert await everything() == before


async def test_what_is_no_decision_of_ours_is_told_to_nobody(client: Client, receiver: Sink) -> None:
    """It is refused for good, as every consumer does."""
    await client.user(balance=100)
    event = (await client.ordered())["PaymentRequested"]
    assert (await client.bring("webhook_handler", event)).status == 422
    assert receiver.received == []
