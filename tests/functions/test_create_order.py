"""POST /Order orders a basket once per attempt, and answers a repetition with what became of it."""

import asyncio
from collections.abc import Callable

import pytest
from bson import ObjectId

from shop.process import trace
from shop.store.client import collection
from tests.functions.conftest import Client
from tests.support.asgi import call


async def order(client: Client, basket: str, sum_: int = 10, **more: object) -> tuple[int, str, bool]:
    """Order Pavel's basket; return status, message, and whether it was replayed."""
    answer = await client.post("/Order", {"user": "Pavel", "sum": sum_, "basket": basket, **more})
    return answer.status, answer.message, "idempotent-replayed" in answer.headers


async def test_an_open_basket_is_ordered_and_asks_for_its_payment(client: Client) -> None:
    """The answer names basket, attempt and status; one event goes to the sink."""
    await client.user(balance=100)
    basket = await client.basket()
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket, "attempt": 1})
    assert answer.json == {
        "status": True,
        "message": "order accepted",
        "basket": basket,
        "attempt": 1,
        "order_status": "ordered",
        "outcome": "pending",
        "decline_code": None,
    }
    assert "idempotent-replayed" not in answer.headers
    (event,) = client.sink.received
    assert (event.header("ce-id"), event.header("ce-subject")) == (f"{basket}.1", basket)


@pytest.mark.parametrize("more", [{}, {"attempt": 1}, {"attempt": None}])
async def test_a_repeated_order_is_replayed_and_charged_once(client: Client, more: dict[str, object]) -> None:
    """On its way, it is emitted again; paid, it is not."""
    await client.user(balance=100)
    basket = await client.basket()
    assert await order(client, basket, **more) == (200, "order accepted", False)
    assert await order(client, basket, **more) == (200, "order accepted", True)
    assert client.sink.received[0] == client.sink.received[1]
    await client.deliver()
    assert await order(client, basket, **more) == (200, "paid", True)
    assert client.sink.received == []
    assert await client.balance() == 90


async def test_fifty_equal_orders_at_once_are_charged_once(client: Client) -> None:
    """One of them orders, all are answered 200."""
    await client.user(balance=100)
    basket = await client.basket()
    answers = await asyncio.gather(*(order(client, basket) for _ in range(50)))
    assert {status for status, _, _ in answers} == {200}
    assert sum(not replayed for _, _, replayed in answers) == 1
    await client.deliver()
    assert await client.balance() == 90


async def test_the_case_of_a_basket_s_digits_does_not_matter(client: Client) -> None:
    """The answer and the event have them in lower case."""
    await client.user(balance=100)
    basket = await client.basket()
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket.upper()})
    assert answer.json["basket"] == basket
    assert client.sink.received[0].header("ce-id") == f"{basket}.1"


async def test_a_basket_that_is_absent_or_of_another_user_is_404(client: Client) -> None:
    """Nobody learns which of the two, and nothing is emitted."""
    olgas = await client.basket("Olga")
    assert await order(client, olgas) == await order(client, "0" * 24)
    assert (await order(client, olgas))[0] == 404
    assert client.sink.received == []


async def test_another_sum_on_an_ordered_or_paid_basket_is_422(client: Client) -> None:
    """The message names the sum it was ordered for."""
    await client.user(balance=100)
    basket = await client.basket()
    await order(client, basket)
    status, message, _ = await order(client, basket, 11)
    assert (status, "10" in message) == (422, True)
    await client.deliver()
    assert (await order(client, basket, 11))[0] == 422
    assert await client.balance() == 90


async def test_a_declined_attempt_is_never_tried_again_by_accident(client: Client) -> None:
    """The same POST, with its attempt, stays declined after a top-up; the next attempt is a new order."""
    await client.user()
    basket = await client.basket()
    await order(client, basket, attempt=1)
    await client.deliver()
    await client.post("/DepositCash", {"user": "Pavel", "sum": 100})
    assert await order(client, basket, attempt=1) == (200, "declined: insufficient funds", True)
    assert client.sink.received == []
    assert await order(client, basket, attempt=2) == (200, "order accepted", False)
    assert await order(client, basket, attempt=1) == (200, "declined", True)
    await client.deliver()
    assert await client.balance() == 90


async def test_without_an_attempt_a_post_after_a_decline_is_a_new_order(client: Client) -> None:
    """The documented limit of clients that send none."""
    await client.user()
    basket = await client.basket()
    await order(client, basket)
    await client.deliver()
    await client.post("/DepositCash", {"user": "Pavel", "sum": 100})
    assert await order(client, basket) == (200, "order accepted", False)


async def test_a_later_attempt_is_422_and_the_message_names_the_one_to_send(client: Client) -> None:
    """While open that is the next one, while ordered the one on its way."""
    await client.user(balance=100)
    basket = await client.basket()
    status, message, _ = await order(client, basket, attempt=2)
    assert (status, message.endswith("send attempt 1")) == (422, True)
    await order(client, basket)
    status, message, _ = await order(client, basket, attempt=2)
    assert (status, message.endswith("send attempt 1")) == (422, True)


@pytest.mark.parametrize("failure", [503, 404, 302, -1])
async def test_an_order_whose_emission_fails_is_accepted(client: Client, failure: int) -> None:
    """The basket is its own outbox: the same event is emitted by the next repetition, or by resend."""
    await client.user(balance=100)
    basket = await client.basket()
    client.sink.answers = [failure] * 2
    assert await order(client, basket) == (200, "order accepted", False)
    assert (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).message == "ordered"
    client.sink.received.clear()
    client.sink.answers = []
    assert await order(client, basket) == (200, "order accepted", True)
    await client.deliver()
    assert await client.balance() == 90


async def test_without_a_place_to_emit_to_nothing_is_ordered(client: Client, configure: Callable[..., None]) -> None:
    """503 without Retry-After, for a repeat does not help; the message names what to mend."""
    basket = await client.basket()
    configure(sink="")
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    assert (answer.status, "K_SINK" in answer.message, "retry-after" in answer.headers) == (503, True, False)
    assert (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).json["attempt"] == 0


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


OTHER_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_the_trace_of_an_order_goes_on_with_its_events(client: Client) -> None:
    """From the request to the payment, and from there to the decision; the client is told, too."""
    await client.user(balance=100)
    basket = await client.basket()
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket}, traceparent=TRACE)
    assert answer.headers["traceparent"] == TRACE
    (requested,) = client.sink.received
    assert requested.header("traceparent") == requested.header("ce-traceparent") == TRACE
    assert (await call("billing_handler", headers=requested.headers, body=requested.body)).status == 200
    _, decided = client.sink.received
    assert decided.header("traceparent") == decided.header("ce-traceparent") == TRACE


async def test_what_is_emitted_again_belongs_to_the_trace_of_its_order(client: Client) -> None:
    """Whoever repeats it, in whatever trace, and whatever KafkaSink made of the header: it is the same event."""
    await client.user(balance=100)
    basket = await client.basket()
    for its in (TRACE, OTHER_TRACE):
        await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket}, traceparent=its)
    first, again = client.sink.received
    assert first == again
    for traceparent in (TRACE, OTHER_TRACE, ""):
        headers = [(name, value) for name, value in first.headers if name != "traceparent"]
        await call("billing_handler", headers=[*headers, ("traceparent", traceparent)], body=first.body)
    decided = client.sink.received[2:]
    assert decided == [decided[0]] * 3
    assert decided[0].header("ce-traceparent") == TRACE


async def test_each_attempt_has_the_trace_that_ordered_it(client: Client) -> None:
    """A decline is the end of its trace."""
    await client.user(balance=1)
    for its in (TRACE, OTHER_TRACE):
        await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": await client.basket()}, traceparent=its)
        assert client.sink.received[0].header("ce-traceparent") == its
        await client.deliver()


async def test_a_basket_that_was_ordered_without_a_trace_has_none(client: Client) -> None:
    """What an older release ordered is emitted again as it was: it has no trace, whoever asks."""
    await client.user(balance=100)
    basket = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    await collection("orders", "baskets").update_one({"_id": ObjectId(basket)}, {"$unset": {"traceparent": ""}})
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket}, traceparent=TRACE)
    assert answer.headers["traceparent"] == TRACE
    _, again = client.sink.received
    assert again.header("traceparent") is again.header("ce-traceparent") is None
    assert (await call("billing_handler", headers=again.headers, body=again.body)).status == 200
    assert client.sink.received[2].header("ce-traceparent") is None


NO_TRACES = ["", "x", TRACE.upper(), TRACE + "-x", TRACE + "\t", "ü" * 55, "ff" + TRACE[2:], "0" * 1000]


@pytest.mark.parametrize("traceparent", NO_TRACES)
async def test_what_is_no_trace_is_as_if_it_were_not_sent(client: Client, traceparent: str) -> None:
    """A trace begins here, and nothing is refused."""
    await client.user(balance=100)
    basket = await client.basket()
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket}, traceparent=traceparent)
    begun = client.sink.received[0].header("ce-traceparent")
    assert answer.status == 200
    assert begun == answer.headers["traceparent"] == trace.read(begun)
    assert begun not in (TRACE, OTHER_TRACE)


@pytest.mark.parametrize("traceparent", NO_TRACES)
async def test_an_event_with_what_is_no_trace_is_decided(client: Client, traceparent: str) -> None:
    """And what it is decided is told without one."""
    await client.user(balance=100)
    event = (await client.ordered())["PaymentRequested"]
    headers = [(name, traceparent if name == "ce-traceparent" else value) for name, value in event.headers]
    assert (await call("billing_handler", headers=headers, body=event.body)).status == 200
    assert client.sink.received[0].header("ce-traceparent") is None
    assert await client.balance() == 90
