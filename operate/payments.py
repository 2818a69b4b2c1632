"""What our events say: read from a CloudEvent, and made into one."""

from typing import Final
from urllib.parse import quote

from google.protobuf.message import DecodeError

from shop.messages import SOURCES, event_id, happened_at, rfc3339
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from wire.event import Event

Payment = PaymentRequested | PaymentDecided

_KINDS: Final = {kind.DESCRIPTOR.full_name: kind for kind in (PaymentRequested, PaymentDecided)}


def payment(event: Event) -> Payment | None:
    """Return what the data say; None when the event is none of ours, or its data cannot be read."""
    kind = _KINDS.get(event.text("type"))
    if kind is None:
        return None
    try:
        return kind.FromString(event.data or b"")
    except DecodeError:
        return None


def as_event(payment: Payment) -> Event:
    """Return the CloudEvent of a payment, byte for byte as the functions emit it."""
    attributes = {
        "specversion": "1.0",
        "id": event_id(payment),
        "type": payment.DESCRIPTOR.full_name,
        "source": SOURCES[type(payment)],
        "subject": payment.basket,
        "time": rfc3339(happened_at(payment)),
        "datacontenttype": "application/protobuf",
        "partitionkey": quote(payment.user, safe=""),
    }
    return Event(attributes, payment.SerializeToString(deterministic=True))
