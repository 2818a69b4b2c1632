"""What our events say is read from them, and from nothing else."""

from datetime import UTC, datetime

from bson import ObjectId

from operate.payments import as_event, declined, paid, payment, requested
from shop.messages import happened_at
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from wire.event import Event

ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}


def test_what_cannot_be_read_is_no_payment() -> None:
    """Another type, or data that are none: nobody is charged by a guess."""
    requested = PaymentRequested(user="Ann", sum=5)
    for kind in (PaymentRequested, PaymentDecided):
        event = Event({**ATTRIBUTES, "type": kind.DESCRIPTOR.full_name}, requested.SerializeToString())
        assert isinstance(payment(event), kind)
    assert payment(Event(ATTRIBUTES, requested.SerializeToString())) is None
    assert payment(Event({**ATTRIBUTES, "type": PaymentRequested.DESCRIPTOR.full_name}, b"\xff")) is None


def test_what_is_made_into_an_event_is_read_from_it() -> None:
    """Under the id that names its effect, and by its customer."""
    for kind in (PaymentRequested, PaymentDecided):
        about = kind(user="Ann & Bob", basket="b", attempt=2)
        event = as_event(about)
        assert payment(event) == about
        assert (event.text("id"), event.text("subject"), event.text("specversion")) == ("b.2", "b", "1.0")
        assert event.text("partitionkey") == "Ann%20%26%20Bob"


def test_what_is_stored_becomes_the_event_of_the_epoch_that_it_is_sent_in() -> None:
    """Whatever the stored entry says: an event of an older epoch would be refused."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    entry = {"number": 1, "basket": ObjectId(), "attempt": 2, "sum": 5, "epoch": 1}
    events = (
        requested({**entry, "_id": ObjectId(), "user": "Ann", "ordered_at": at}, 3),
        paid("Ann", {**entry, "paid_at": at}, 3),
        declined("Ann", {**entry, "reason": "insufficient funds", "decided_at": at}, 3),
    )
    assert [(event.user, event.attempt, event.sum, event.epoch) for event in events] == [("Ann", 2, 5, 3)] * 3
    assert [happened_at(event) for event in events] == [at] * 3
    assert [event.reason for event in events[1:]] == ["", "insufficient funds"]
