"""What our events say: read from a CloudEvent, built from what the databases hold, and made into a CloudEvent again."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from google.protobuf.message import DecodeError

from shop.messages import EVENTS, SOURCES, event_id, from_document, happened_at, rfc3339
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from wire.event import Attribute, Event

Payment = PaymentRequested | PaymentDecided

_KINDS: Final[Mapping[str, type[Payment]]] = {kind.DESCRIPTOR.full_name: kind for kind in EVENTS}


def payment(event: Event) -> Payment | None:
    """Return what the data say; None when the event is none of ours, or its data cannot be read."""
    kind = _KINDS.get(event.text("type"))
    if kind is None:
        return None
    try:
        about: Payment = kind.FromString(event.data or b"")
    except DecodeError:
        return None
    return about


def as_event(payment: Payment, traceparent: str | None = None) -> Event:
    """Return the CloudEvent of a payment, in the trace of its order, byte for byte as the functions emit it."""
    attributes: dict[str, Attribute] = {
        "specversion": "1.0",
        "id": event_id(payment),
        "type": payment.DESCRIPTOR.full_name,
        "source": SOURCES[type(payment)],
        "subject": payment.basket,
        "time": rfc3339(happened_at(payment)),
        "datacontenttype": "application/protobuf",
        "partitionkey": quote(payment.user, safe=""),
    }
    if traceparent is not None:
        attributes["traceparent"] = traceparent
    return Event(attributes, payment.SerializeToString(deterministic=True))


def requested(basket: Mapping[str, Any], epoch: int) -> PaymentRequested:
    """Return the event of an ordered basket, as resend emits it."""
    return from_document(PaymentRequested, basket, basket=basket["_id"], epoch=epoch)


def paid(user: str, entry: Mapping[str, Any], epoch: int) -> PaymentDecided:
    """Return the event of a charge, as billing emits it: from its entry in `paid_baskets` or in the archive."""
    decided = {"outcome": PAID, "reason": None, "decided_at": entry["paid_at"]}
    return from_document(PaymentDecided, entry, user=user, epoch=epoch, **decided)


def declined(user: str, entry: Mapping[str, Any], epoch: int) -> PaymentDecided:
    """Return the event of a decline that billing remembers."""
    return from_document(PaymentDecided, entry, user=user, epoch=epoch, outcome=DECLINED)
