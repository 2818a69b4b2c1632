"""Tell again what the databases hold as decided, and ask for the payment of what orders holds as ordered. Nothing else.

Repair never asks billing about an attempt that orders has as paid or declined: if billing has lost that decision, it
would decide anew, and charge what the customer was told was declined.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from operate.cli.output import NotReachable, progress
from operate.databases import Document
from operate.payments import Payment, as_event
from operate.places import Places
from operate.sending import Answer, Target, send_all
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from wire.event import Event

_TOPICS: Final[Mapping[type, str]] = {PaymentRequested: "payments", PaymentDecided: "results"}
_AT_ONCE: Final = 8  # events in flight; KafkaSink takes as many from one function


def requested(basket: Document, epoch: int) -> PaymentRequested:
    """Return the event of an ordered basket, as resend emits it."""
    copied = {field: basket[field] for field in ("user", "number", "attempt", "sum", "ordered_at")}
    return PaymentRequested(basket=str(basket["_id"]), epoch=epoch, **copied)


def paid(user: str, entry: Document, epoch: int) -> PaymentDecided:
    """Return the event of a charge, as billing emits it: from its entry in `paid_baskets` or in the archive."""
    return _decided(user, entry, epoch, outcome=PAID, decided_at=entry["paid_at"])


def declined(user: str, entry: Document, epoch: int) -> PaymentDecided:
    """Return the event of a decline that billing remembers."""
    return _decided(user, entry, epoch, outcome=DECLINED, reason=entry["reason"], decided_at=entry["decided_at"])


def _decided(user: str, entry: Document, epoch: int, **decision: Any) -> PaymentDecided:
    copied = {field: entry[field] for field in ("number", "attempt", "sum")}
    return PaymentDecided(user=user, basket=str(entry["basket"]), epoch=epoch, **copied, **decision)


def send(places: Places, payments: Iterable[Payment]) -> None:
    """Send events to their topics, byte for byte as the functions emit them. Raises NotReachable."""
    by_topic: dict[str, list[Event]] = {}
    for payment in payments:
        by_topic.setdefault(_TOPICS[type(payment)], []).append(as_event(payment))
    with progress("repairing", sum(map(len, by_topic.values()))) as steps:
        for topic, events in by_topic.items():
            url = places.sink(topic)

            def told(_: Event, answer: Answer, url: str = url) -> None:
                if not answer.accepted:
                    raise NotReachable(f"the sink at {url} did not take an event: {answer.status} {answer.reason}")
                steps.done()

            asyncio.run(send_all(Target(url), events, told, concurrency=_AT_ONCE))
