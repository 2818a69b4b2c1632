"""order_handler settles a basket as billing decided, once."""

from tests.functions.conftest import Client, everything


async def test_a_payment_settles_the_basket_and_a_repetition_changes_nothing(client: Client) -> None:
    """The next basket is made after it, and not before."""
    await client.user(balance=100)
    first = await client.basket()
    decided = (await client.ordered(10))["PaymentDecided"]
    assert (await client.bring("order_handler", decided)).status == 200
    assert (await client.get("/GetOrder", {"user": "Pavel", "basket": first})).message == "paid"
    assert await client.basket() != first
    before = await everything()
    assert (await client.bring("order_handler", decided)).status == 200
    assert await everything() == before
    assert client.sink.received == []


async def test_a_decline_opens_the_basket_again_and_a_late_one_leaves_the_next_attempt_alone(client: Client) -> None:
    """A customer who orders anew is not set back by the decision of before."""
    await client.user()
    basket = await client.basket()
    declined = (await client.ordered(10))["PaymentDecided"]
    assert (await client.bring("order_handler", declined)).status == 200
    assert (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).message == "open"
    await client.post("/Order", {"user": "Pavel", "sum": 20, "basket": basket})
    assert (await client.bring("order_handler", declined)).status == 200
    assert (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).message == "ordered"
