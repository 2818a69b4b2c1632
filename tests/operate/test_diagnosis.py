"""One sentence says why an order is where it is: each cause has its words, and each says what happens next."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId

from local.servers.mongodb import Mongod
from operate import places
from operate.databases import Databases
from operate.diagnosis import Known, lasting, read, sentence
from operate.groups import Group
from operate.letters import Letter
from operate.running import RunningShop
from operate.status import Orders, Status, Trouble
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from shop.store.client import collection
from wire.event import Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BASKET = ObjectId()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def basket(status: str = "ordered", **more: Any) -> dict[str, Any]:
    """Return a basket that was ordered 73 s ago, and is asked for again in 12 s."""
    kept = {"_id": BASKET, "user": "Павел", "number": 1, "status": status, "attempt": 1, "sum": 5}
    due = {"resend_at": NOW + timedelta(seconds=12)} if status == "ordered" else {"decided_at": ago(72.8)}
    return {**kept, "ordered_at": ago(73), **due, **more}


def status(*troubles: Trouble, letters: list[Letter] | None = None, **groups: Group) -> Status:
    """Return a look in which nothing waits, but for this."""
    fine = dict.fromkeys(("billing-handler", "order-handler", "notify-handler"), Group(1, 0, None))
    orders = Orders(NOW, {"open": 0, "ordered": 1, "paid": 0}, ago(73), 1, 0, None)
    given = {name.replace("_", "-"): group for name, group in groups.items()}
    return Status(NOW, orders, fine | given, {}, letters or [], troubles=troubles)


def letter(
    consumer: str,
    about: PaymentRequested | PaymentDecided,
    code: str = "422",
    reason: str = "wrong_event: it was edited",
) -> Letter:
    event = Event({"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}, b"")
    return Letter(event, consumer, True, code, reason, about, 0, 0, "", NOW)


def requested(attempt: int = 1, basket: ObjectId | None = None) -> PaymentRequested:
    return PaymentRequested(basket=str(basket or BASKET), attempt=attempt)


BEHIND = Group(1, 5, ago(73))
CHARGED = {"basket": BASKET, "attempt": 1, "sum": 5, "paid_at": ago(70)}
HANGS = "Ordered 73 s ago; billing-handler has not decided: "
NEXT = "; resend_orders asks again in 12 s."


@pytest.mark.parametrize(
    ("known", "found", "says"),
    [
        (Known(None), status(), "No basket has this id."),
        (Known(basket("open", attempt=0)), status(), "Never ordered: no POST /Order has come for it."),
        (
            Known(basket(), None),
            status(billing_handler=BEHIND),
            f"{HANGS}5 events wait for it, the oldest for 73 s{NEXT}",
        ),
        (Known(basket(), None), status(), f"{HANGS}the event was lost, or is being tried again{NEXT}"),
        (
            Known(basket(ordered_at=ago(1)), None),
            status(),
            f"Ordered 1 s ago; billing-handler has not decided: the event is on its way{NEXT}",
        ),
        *(
            (
                Known(basket()),
                status(Trouble(cause, "billing-handler", "billing-handler is X")),
                f"{HANGS}billing-handler is X{NEXT}",
            )
            for cause in ("no_member", "no_answer", "not_ready", "behind")
        ),
        (
            Known(basket()),
            status(Trouble("kafka_away", "", "Kafka does not answer"), Trouble("no_answer", "billing-handler", "X")),
            f"{HANGS}Kafka does not answer{NEXT}",
        ),
        (
            Known(basket()),
            status(Trouble("no_answer", "order-handler", "another's")),
            f"{HANGS}the event was lost, or is being tried again{NEXT}",
        ),
        (
            Known(basket()),
            status(letters=[letter("billing-handler", requested())]),
            f"{HANGS}it refused the event with wrong_event (it was edited), which waits as a dead letter{NEXT}",
        ),
        *(
            (
                Known(basket(attempt=2)),
                status(letters=[letter("billing-handler", another)]),
                f"{HANGS}the event was lost, or is being tried again{NEXT}",
            )
            for another in (requested(2, ObjectId()), requested(1))
        ),
        (
            Known(basket()),
            status(letters=[letter("billing-handler", requested(), "503", "database_unavailable: MongoDB was away")]),
            f"{HANGS}it could not take the event, database_unavailable (MongoDB was away), "
            f"which waits as a dead letter{NEXT}",
        ),
        (
            Known(basket()),
            status(
                Trouble("no_answer", "billing-handler", "billing-handler is frozen"),
                letters=[letter("billing-handler", requested(), "", "no answer")],
            ),
            f"{HANGS}billing-handler is frozen{NEXT}",
        ),
        (
            Known(basket()),
            status(
                Trouble("no_answer", "billing-handler", "billing-handler is frozen"),
                letters=[letter("billing-handler", requested())],
            ),
            f"{HANGS}it refused the event with wrong_event (it was edited), which waits as a dead letter{NEXT}",
        ),
        (
            Known(basket(), CHARGED),
            status(order_handler=BEHIND),
            "Ordered 73 s ago; billing-handler charged it 70 s ago, and order-handler has not settled it: "
            f"5 events wait for it, the oldest for 73 s{NEXT}",
        ),
        (
            Known(basket(), {"basket": BASKET, "attempt": 1, "decided_at": ago(70), "reason": "insufficient funds"}),
            status(),
            "Ordered 73 s ago; billing-handler declined it 70 s ago, and order-handler has not settled it: "
            f"the event was lost, or is being tried again{NEXT}",
        ),
        (
            Known(basket(resend_at=ago(30))),
            status(),
            f"{HANGS}the event was lost, or is being tried again; resend_orders asks again within a minute.",
        ),
        (
            Known(basket(resend_at=ago(200))),
            status(),
            f"{HANGS}the event was lost, or is being tried again; resend_orders should have asked again 3 minutes ago: "
            "it does not run, or cannot emit.",
        ),
        (Known(basket("paid"), CHARGED, True), status(), "Paid 73 s ago, 0.2 s after it was ordered."),
        (
            Known(basket("paid"), CHARGED),
            status(notify_handler=BEHIND),
            "Paid 73 s ago, 0.2 s after it was ordered; notify-handler has not told the customer: "
            "5 events wait for it, the oldest for 73 s.",
        ),
        (
            Known(basket("open", reason="insufficient funds"), None, True),
            status(),
            "Declined 73 s ago, 0.2 s after it was ordered: insufficient funds; the customer may order it again, as "
            "attempt 2.",
        ),
    ],
)
def test_each_cause_has_its_sentence(known: Known, found: Status, says: str) -> None:
    """The deepest cause that is known, and what happens next."""
    assert sentence(known, found) == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(-1, "0.0 s"), (0.21, "0.2 s"), (73, "73 s"), (300, "5 minutes"), (7300, "2 hours"), (400_000, "5 days")],
)
def test_durations_are_said_as_people_say_them(seconds: float, says: str) -> None:
    """In the largest unit that still tells something."""
    assert lasting(seconds) == says


@pytest.fixture
def opened(shop: None, mongod: Mongod) -> Iterator[Databases]:
    """Return the three databases as the command reads them."""
    with RunningShop(places.find({"MONGODB_URI": mongod.uri})).databases() as reader:
        yield reader


async def test_what_is_known_comes_from_all_three_databases(opened: Databases) -> None:
    """The decision of this very attempt, from the account or its archive; whether the customer was told."""
    assert read(opened, BASKET) == Known(None)
    await collection("orders", "baskets").insert_one(
        {"_id": BASKET, "user": "Ann", "number": Int64(1), "status": "ordered", "attempt": Int64(2), "sum": Int64(5)}
    )
    entry = {"number": Int64(1), "basket": BASKET, "sum": Int64(5)}
    declined = {**entry, "attempt": Int64(1), "reason": "insufficient funds", "decided_at": NOW}
    await collection("billing", "users").insert_one({"_id": "Ann", "balance": Int64(0), "declined": declined})
    assert read(opened, BASKET).decision is None  # it is of the attempt before
    archived = {"user": "Ann", **entry, "attempt": Int64(2), "paid_at": NOW}
    await collection("billing", "paid_baskets").insert_one(archived)
    known = read(opened, BASKET)
    assert known.decision is not None
    assert (known.decision["attempt"], known.is_notified, known.is_settled) == (2, False, False)
