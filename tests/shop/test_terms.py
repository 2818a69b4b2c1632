"""What makes two orders the same is one list: another value of any of them is refused wherever an order comes by.

Each test runs for every term, so a new one (a field with the option `term` in events.proto) is held to all of them.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import Message

from shop import billing, notifications, orders, state
from shop.errors import Contradiction
from shop.messages import TERMS, other_term, terms
from shop.schema.billing_pb2 import PaidBasket
from shop.schema.events_pb2 import DECLINED, PAID, Outcome, PaymentDecided, PaymentRequested
from shop.schema.notify_pb2 import Notification
from shop.schema.orders_pb2 import GetOrderResponse, OrderRequest

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
PAYS = {"sum": 10}
"""Terms that the account of a test can pay; of any other term, what `value` says."""

of_every_term = pytest.mark.parametrize("term", TERMS)
shop = pytest.mark.usefixtures("shop")


def agreed() -> dict[str, Any]:
    """Return a value for every term."""
    types = {field.name: field for field in PaymentRequested.DESCRIPTOR.fields}
    return {name: PAYS.get(name, "a" if types[name].cpp_type == types[name].CPPTYPE_STRING else 1) for name in TERMS}


def with_another(term: str) -> dict[str, Any]:
    """Return the same terms but for one, that the account can pay as well."""
    value = agreed()[term]
    return agreed() | {term: value + "b" if isinstance(value, str) else value + 1}


async def an_order(**attempt: int) -> tuple[OrderRequest, PaymentRequested]:
    """Order a new basket; return the request, and the event that asks for its payment."""
    basket = await orders.current_basket("Pavel")
    request = OrderRequest(user="Pavel", basket=str(basket["_id"]), **agreed(), **attempt)
    event = (await orders.place(request)).event
    assert event is not None
    return request, event


def changed(message: Any, term: str) -> Any:
    """Return a message of the same kind with another value of a term."""
    other = type(message)()
    other.CopyFrom(message)
    setattr(other, term, with_another(term)[term])
    return other


def decision(event: PaymentRequested, outcome: Outcome) -> PaymentDecided:
    """Return what billing would say of an attempt."""
    return PaymentDecided(
        user=event.user,
        basket=event.basket,
        number=event.number,
        attempt=event.attempt,
        **terms(event),
        outcome=outcome,
        reason="" if outcome == PAID else "insufficient funds",
        decided_at=AT,
    )


@of_every_term
@shop
async def test_another_order_of_an_ordered_basket_is_refused(term: str) -> None:
    """With its attempt and without; what was ordered stays, and is what is answered to a repetition."""
    request, event = await an_order(attempt=1)
    for other in (changed(request, term), changed(OrderRequest(user="Pavel", basket=event.basket, **agreed()), term)):
        with pytest.raises(Contradiction, match=term):
            await orders.place(other)
    again = await orders.place(request)
    assert (again.replayed, again.event) == (True, event)
    assert terms(event) == agreed()


@of_every_term
@shop
async def test_the_next_attempt_may_be_another_order(term: str) -> None:
    """After a decline the terms are as free as before, and what is stored and told is the new ones."""
    request, event = await an_order()
    await orders.settle(decision(event, DECLINED))
    second = changed(request, term)
    second.attempt = 2
    told = (await orders.place(second)).event
    assert told is not None
    assert terms(told) == with_another(term)


@of_every_term
@pytest.mark.parametrize("funds", [100, 0], ids=["paid", "declined"])
@shop
async def test_a_request_with_other_terms_than_were_decided_is_refused(term: str, funds: int) -> None:
    """Paid or declined: nothing is charged, and the decision is told with its own terms."""
    await billing.create_user("Pavel")
    if funds:
        await billing.deposit("Pavel", funds, "key")
    _, event = await an_order()
    decided = (await billing.decide(event)).event
    before = await billing.find_account("Pavel")
    with pytest.raises(Contradiction, match=term):
        await billing.decide(changed(event, term))
    assert await billing.find_account("Pavel") == before
    assert decided is not None
    assert terms(decided) == agreed()


@of_every_term
@pytest.mark.parametrize("outcome", [PAID, DECLINED])
@shop
async def test_a_decision_on_other_terms_than_were_ordered_is_refused(term: str, outcome: Outcome) -> None:
    """Before and after the basket is settled; it stays as it is."""
    request, event = await an_order()
    for _ in ("ordered", "settled"):
        before = await orders.find_order("Pavel", request.basket)
        with pytest.raises(Contradiction, match=term):
            await orders.settle(changed(decision(event, outcome), term))
        assert await orders.find_order("Pavel", request.basket) == before
        await orders.settle(decision(event, outcome))


@of_every_term
@shop
async def test_a_decision_on_other_terms_than_were_notified_is_refused(term: str) -> None:
    """The customer was told once, and is not told anything else."""
    _, event = await an_order()
    await notifications.record(decision(event, PAID))
    with pytest.raises(Contradiction, match=term):
        await notifications.record(changed(decision(event, PAID), term))
    (notified,) = (await notifications.latest("Pavel")).notifications
    assert {name: notified[name] for name in TERMS} == agreed()


@of_every_term
@pytest.mark.parametrize(
    "kind",
    [OrderRequest, PaymentRequested, PaymentDecided, GetOrderResponse, PaidBasket, Notification],
    ids=lambda kind: kind.DESCRIPTOR.name,
)
def test_every_message_about_an_order_says_its_terms(term: str, kind: type[Message]) -> None:
    """From the customer's request to the customer's notification."""
    assert term in kind.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize(
    "shape",
    [state.Basket, state.PaidBasket, state.Declined, state.ArchivedPaidBasket, state.Notification],
    ids=lambda shape: shape.__name__,
)
def test_every_document_about_an_order_keeps_its_terms(shape: Any) -> None:
    """And MongoDB refuses those that are not whole, once there was an order."""
    assert set(TERMS) == set(state.Terms.__annotations__)
    assert set(TERMS) <= set(shape.__annotations__)


def test_a_term_that_one_order_does_not_say_is_another_value() -> None:
    """An `optional` term that was left out is not the same as any that was sent."""
    assert other_term({}, agreed()) == TERMS[0]
    assert other_term(agreed(), {}) == TERMS[0]
    assert other_term(agreed(), agreed()) is None
