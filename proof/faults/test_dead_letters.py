"""What can never work is refused with 422 and found in the dead letters, with the reason; nothing else is disturbed."""

from dataclasses import replace

import pytest
from bson import ObjectId
from google.protobuf.timestamp_pb2 import Timestamp

from proof.faults.customers import Shop
from proof.faults.system import System
from proof.faults.topics import PAYMENTS, RESULTS, Record, record_of
from shop.schema.events_pb2 import DECLINED, PAID, Outcome, PaymentDecided, PaymentRequested


def requested(user: str, basket: str, *, attempt: int = 1, sum_: int = 10) -> PaymentRequested:
    """Return a request as it might be forged."""
    return PaymentRequested(
        user=user, basket=basket, number=1, attempt=attempt, sum=sum_, ordered_at=Timestamp(seconds=1_800_000_000)
    )


def decided(user: str, basket: str, *, attempt: int = 1, sum_: int = 10, outcome: Outcome = PAID) -> PaymentDecided:
    """Return a decision as it might be forged."""
    return PaymentDecided(
        user=user,
        basket=basket,
        number=1,
        attempt=attempt,
        sum=sum_,
        outcome=outcome,
        decided_at=Timestamp(seconds=1_800_000_000),
    )


def poison(kind: str) -> Record:
    """Return a record that billing_handler can never take, under an id of its own."""
    basket = str(ObjectId())
    good = record_of(requested("nobody", basket))
    match kind:
        case "bytes that are no message":
            return replace(good, value=b"\xff\xff{not protobuf")
        case "no data":
            return replace(good, value=None)
        case "an event of another type":
            return replace(good, headers={**good.headers, "ce_type": "shop.events.v1.PaymentDecided"})
        case "JSON":
            return replace(good, value=b"{}", headers={**good.headers, "content-type": "application/json"})
        case "an id that is not its data's":
            return replace(good, headers={**good.headers, "ce_id": f"{basket}.2"})
        case "a sum of nothing":
            return record_of(requested("nobody", basket, sum_=0))
        case "a negative sum":
            return record_of(requested("nobody", basket, sum_=-10))
        case _:
            raise ValueError(kind)


POISONS = {
    "bytes that are no message": "is not a shop.events.v1.PaymentRequested",
    "no data": "user must have 1 to 128 characters",
    "an event of another type": "this function takes shop.events.v1.PaymentRequested",
    "JSON": "send application/protobuf",
    "an id that is not its data's": "it was edited",
    "a sum of nothing": "sum must be a whole number from 1",
    "a negative sum": "sum must be a whole number from 1",
}


@pytest.mark.parametrize(("kind", "reason"), POISONS.items(), ids=POISONS)
async def test_a_poison_event_is_found_in_the_dead_letters_with_its_reason(
    system: System, shop: Shop, kind: str, reason: str
) -> None:
    """It is refused at once, kept as it was, and the orders behind it are served."""
    record = poison(kind)

    system.topics.send(record)

    letter = await system.dead_letter(record.id, "billing-handler")
    assert letter.headers["ce_knativeerrorcode"] == "422"
    assert reason in system.reason(letter)
    assert letter.value == record.value
    await system.pay(await shop.account(10), 10)


async def test_a_record_that_is_no_event_is_found_in_the_dead_letters(system: System) -> None:
    """KafkaSource wraps it in an event of its own; the function says what it takes instead."""
    value = str(ObjectId()).encode()

    system.topics.send(Record(PAYMENTS, None, value, {}))

    letter = await system.dead_letter_of(value)
    assert letter.headers["ce_type"] == "dev.knative.kafka.event"
    assert "this function takes shop.events.v1.PaymentRequested" in system.reason(letter)


async def test_a_request_that_contradicts_its_payment_is_refused_with_both_values(system: System, shop: Shop) -> None:
    """Another sum for the attempt that was paid, or a later attempt: a dead letter, and no charge."""
    user = await shop.account(100)
    basket = await system.pay(user, 10)

    assert await system.post("billing-handler", requested(user, basket, sum_=99)) == 422
    system.topics.send(record_of(requested(user, basket, attempt=2)))

    later = system.reason(await system.dead_letter(f"{basket}.2", "billing-handler"))
    assert "attempt 2 was ordered" in later
    assert "attempt 1 was paid" in later
    system.topics.send(record_of(requested(user, basket, sum_=99)))
    other_sum = system.reason(await system.dead_letter(f"{basket}.1", "billing-handler"))
    assert "99" in other_sum
    assert "10" in other_sum
    assert await shop.balance(user) == 90


async def test_a_request_that_contradicts_its_decline_is_refused_with_both_values(system: System, shop: Shop) -> None:
    """Another sum for the attempt that was declined is not decided anew."""
    user = await shop.account(5)
    basket, attempt = await shop.basket(user)
    await shop.order(user, basket, 10, attempt)
    assert await system.settled(basket) == "open"

    system.topics.send(record_of(requested(user, basket, sum_=3)))

    reason = system.reason(await system.dead_letter(f"{basket}.1", "billing-handler"))
    assert "ordered for 3" in reason
    assert "decided for 10" in reason
    assert await shop.balance(user) == 5


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ({"sum_": 99}, "was decided for 99, but ordered for 10"),
        ({"attempt": 2}, "attempt 2 was decided, but attempt 1 is the latest one ordered"),
        ({"outcome": DECLINED}, "was decided open, but is settled paid"),
        ({"user": "a-foreign-user"}, "user a-foreign-user has no basket"),
    ],
    ids=["other sum", "later attempt", "other outcome", "foreign user"],
)
async def test_a_decision_that_contradicts_the_basket_is_refused_with_both_values(
    system: System, shop: Shop, forged: dict[str, object], reason: str
) -> None:
    """The basket stays as it was settled, and the dead letter of order_handler says what differs."""
    user = await shop.account(100)
    basket = await system.pay(user, 10)
    before = await system.basket(basket)
    event = decided(**{"user": user, "basket": basket, **forged})  # type: ignore[arg-type]

    system.topics.send(record_of(event))

    letter = await system.dead_letter(f"{basket}.{event.attempt}", "order-handler")
    assert letter.headers["ce_knativeerrorcode"] == "422"
    assert reason in system.reason(letter)
    assert await system.basket(basket) == before


async def test_a_decision_that_contradicts_its_notification_is_refused(system: System, shop: Shop) -> None:
    """Nobody is told a second thing about one attempt."""
    user = await shop.account(100)
    basket = await system.pay(user, 10)
    notified = await system.notified(user, 1)

    system.topics.send(record_of(decided(user, basket, outcome=DECLINED)))

    letter = await system.dead_letter(f"{basket}.1", "notify-handler")
    assert "was notified with outcome paid, not declined" in system.reason(letter)
    assert await shop.notifications(user) == notified


async def test_a_request_forged_for_another_user_is_charged_to_that_user_and_found_at_settlement(
    system: System, shop: Shop
) -> None:
    """The documented limit: billing cannot know whose basket it is; who may write to the topics, deployment says."""
    victim = await shop.account(100)
    basket, _ = await shop.basket(await shop.account(100))

    system.topics.send(record_of(requested(victim, basket)))

    letter = await system.dead_letter(f"{basket}.1", "order-handler")
    assert f"user {victim} has no basket {basket}" in system.reason(letter)
    assert await shop.balance(victim) == 90
    assert system.topics.records(RESULTS, f"{basket}.1")
