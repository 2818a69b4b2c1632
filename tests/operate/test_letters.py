"""A dead letter has healed when the database of the consumer that refused it says so, and no other one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId

from local.servers.mongodb import Mongod
from operate import letters, places
from operate.databases import Databases
from operate.letters import Letter
from operate.running import RunningShop
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from shop.store.client import collection
from wire.event import Event

BASKET, USER, AT = ObjectId(), "Павел", datetime(2026, 1, 1, tzinfo=UTC)
ENTRY = {"number": Int64(1), "basket": BASKET, "attempt": Int64(2), "sum": Int64(10)}
PAID_ENTRY = {**ENTRY, "paid_at": AT}
DECLINED_ENTRY = {**ENTRY, "reason": "insufficient funds", "decided_at": AT}
ORDERS, BILLING, NOTIFY = "order-handler", "billing-handler", "notify-handler"


def requested(attempt: int = 2, sum_: int = 10, **more: Any) -> PaymentRequested:
    """Return the request for the attempt that was decided, or for another."""
    content = {"number": 1, "attempt": attempt, "sum": sum_, "ordered_at": AT}
    return PaymentRequested(**{"user": USER, "basket": str(BASKET), **content, **more})


def decided(outcome: Any = PAID, attempt: int = 2, sum_: int = 10, **more: Any) -> PaymentDecided:
    """Return the decision of that attempt."""
    reason = "" if outcome == PAID else "insufficient funds"
    content = {"number": 1, "attempt": attempt, "sum": sum_, "outcome": outcome, "reason": reason, "decided_at": AT}
    return PaymentDecided(**{"user": USER, "basket": str(BASKET), **content, **more})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({}, "no answer"),
        ({"knativeerrorcode": "503"}, "answered 503 without a text"),
        ({"knativeerrorcode": "503", "knativeerrordata": "bm8="}, "no"),
    ],
)
def test_a_reason_is_never_blank(error: dict[str, str], reason: str) -> None:
    """A function that hung answered nothing; a proxy answers without a text."""
    attributes = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y", **error}
    assert Letter.of(Event(attributes, b""), places.find({}), AT).reason == reason


def letter(consumer: str, about: PaymentRequested | PaymentDecided) -> Letter:
    """Return the letter of an event that this consumer refused."""
    attributes = {
        "specversion": "1.0",
        "id": f"{about.basket}.{about.attempt}",
        "source": "/orders",
        "type": about.DESCRIPTOR.full_name,
        "knativeerrordest": f"http://{consumer}.shop.svc.cluster.local",
        "knativeerrorcode": "422",
    }
    return Letter.of(Event(attributes, about.SerializeToString()), places.find({}), AT)


@pytest.fixture
def opened(shop: None, mongod: Mongod) -> Iterator[Databases]:
    """Return the three databases as the command reads them."""
    with RunningShop(places.find({"MONGODB_URI": mongod.uri})).databases() as opened:
        yield opened


async def write(where: str, **document: Any) -> None:
    """Put a document into one of the three databases."""
    service, _, name = where.partition(".")
    await collection(service, name).insert_one(document)


async def charged(**change: Any) -> None:
    await write("billing.users", _id=USER, balance=Int64(0), paid_baskets=[PAID_ENTRY | change])


async def archived() -> None:
    await write("billing.paid_baskets", user=USER, **PAID_ENTRY)


async def remembered() -> None:
    await write("billing.users", _id=USER, balance=Int64(0), declined=DECLINED_ENTRY)


async def basket_is(status: str, **change: Any) -> None:
    kept = {"_id": BASKET, "user": USER, "number": Int64(1), "status": status, "attempt": Int64(2), "sum": Int64(10)}
    await write("orders.baskets", **kept | change)


async def notified(outcome: str = "paid", **change: Any) -> None:
    content = {"user": USER, "basket": BASKET, "attempt": Int64(2), "sum": Int64(10), "outcome": outcome}
    times = {"reason": "", "decided_at": AT, "recorded_at": AT}
    await write("notify.notifications", **{"_id": f"{BASKET}.2", **content, **times, **change})


def state(opened: Databases, one: Letter) -> str:
    """Return what has become of a letter."""
    (judged,) = letters.judged([one], opened)
    return judged.state


async def test_a_letter_of_billing_has_not_healed_because_orders_says_paid(opened: Databases) -> None:
    """Billing never charged: the redrive is what it waits for."""
    await basket_is("paid")
    await notified()
    assert state(opened, letter(BILLING, requested())) == "waiting"


@pytest.mark.parametrize(
    ("stored", "about", "expected"),
    [
        (charged, requested(), "healed"),
        (archived, requested(), "healed"),
        (remembered, requested(), "healed"),
        (charged, requested(sum_=11), "waiting"),
        (archived, requested(sum_=11), "waiting"),
        (remembered, requested(sum_=11), "waiting"),
        (charged, requested(attempt=1, sum_=3), "healed"),
        (charged, requested(attempt=3), "waiting"),
        (remembered, requested(attempt=3), "waiting"),
        (charged, requested(number=2), "waiting"),
        (charged, requested(attempt=1, epoch=1), "waiting"),
    ],
)
async def test_a_request_has_healed_when_billing_decided_it(
    opened: Databases, stored: Any, about: PaymentRequested, expected: str
) -> None:
    """Charged, archived or declined with this sum, or at a later attempt; a contradiction never heals."""
    await stored()
    assert state(opened, letter(BILLING, about)) == expected


async def test_a_charge_counts_before_an_older_decline_of_the_same_basket(opened: Databases) -> None:
    """Billing remembers the decline of attempt 1 beside the charge of attempt 2."""
    older = {**DECLINED_ENTRY, "attempt": Int64(1)}
    await write("billing.users", _id=USER, balance=Int64(0), declined=older, paid_baskets=[PAID_ENTRY])
    assert state(opened, letter(BILLING, requested())) == "healed"


async def test_a_charge_of_another_user_heals_nothing(opened: Databases) -> None:
    """The request was forged for somebody else."""
    await charged()
    about = requested()
    about.user = "Ann"
    assert state(opened, letter(BILLING, about)) == "waiting"


@pytest.mark.parametrize(
    ("status", "change", "about", "expected"),
    [
        ("paid", {}, decided(), "healed"),
        ("open", {}, decided(DECLINED), "healed"),
        ("ordered", {}, decided(), "waiting"),
        ("ordered", {}, decided(DECLINED), "waiting"),
        ("paid", {}, decided(DECLINED), "waiting"),
        ("open", {}, decided(PAID), "waiting"),
        ("open", {}, decided(7), "waiting"),  # an outcome of a newer version
        ("paid", {}, decided(sum_=11), "waiting"),
        ("paid", {}, decided(attempt=3), "waiting"),
        ("ordered", {}, decided(DECLINED, attempt=1), "healed"),
        ("paid", {"user": "Ann"}, decided(), "waiting"),
    ],
)
async def test_a_decision_has_healed_when_the_basket_is_settled_so(
    opened: Databases, status: str, change: Any, about: PaymentDecided, expected: str
) -> None:
    """By what orders has, whatever billing and notify have."""
    await charged()
    await notified()
    await basket_is(status, **change)
    assert state(opened, letter(ORDERS, about)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "healed"),
        ({"sum": Int64(11)}, "waiting"),
        ({"outcome": "declined"}, "waiting"),
        ({"reason": "insufficient funds"}, "waiting"),
        ({"decided_at": AT + timedelta(seconds=1)}, "waiting"),
        ({"user": "Ann"}, "waiting"),
        ({"_id": f"{BASKET}.1"}, "waiting"),
    ],
)
async def test_a_decision_has_healed_when_it_was_notified_with_its_content(
    opened: Databases, change: Any, expected: str
) -> None:
    """Every field that notify_handler compares; what it refuses as contradicting does not heal."""
    await charged()
    await basket_is("paid")
    await notified(**change)
    assert state(opened, letter(NOTIFY, decided())) == expected


async def test_an_outcome_of_a_newer_version_was_notified_by_none_of_ours(opened: Databases) -> None:
    """It waits for the rollout, whatever is stored."""
    await notified("declined", reason="insufficient funds")
    assert state(opened, letter(NOTIFY, decided(7))) == "waiting"


async def test_an_event_that_its_consumer_does_not_take_never_heals(opened: Databases) -> None:
    """A decision on the topic of requests, or bytes that nobody can read."""
    await charged()
    await basket_is("paid")
    assert state(opened, letter(BILLING, decided())) == "waiting"
    assert state(opened, letter(ORDERS, requested())) == "waiting"
    unread = letter(BILLING, requested())
    attributes = {**unread.event.attributes, "type": "dev.knative.kafka.event"}
    assert state(opened, Letter.of(Event(attributes, b"\xff"), places.find({}), AT)) == "waiting"


@pytest.mark.parametrize(
    ("consumer", "service", "about"),
    [(BILLING, "billing", requested), (ORDERS, "orders", decided), (NOTIFY, "notify", decided)],
)
async def test_a_letter_of_before_the_restore_of_its_consumers_database_is_outdated(
    opened: Databases, consumer: str, service: str, about: Any
) -> None:
    """By the epoch of that one database; healed is healed all the same, and parked is parked."""
    others = {"orders", "billing", "notify"} - {service}
    for each in others:
        await collection(each, "meta").replace_one(
            {"_id": "epoch"}, {"epoch": Int64(9), "restored_at": AT}, upsert=True
        )
    assert state(opened, letter(consumer, about())) == "waiting"
    await collection(service, "meta").replace_one({"_id": "epoch"}, {"epoch": Int64(2), "restored_at": AT}, upsert=True)
    (judged,) = letters.judged([letter(consumer, about(epoch=1))], opened)
    assert (judged.state, judged.waiting) == ("outdated", False)
    assert str(judged.restored) == "2, restored at 2026-01-01T00:00:00Z"
    assert state(opened, letter(consumer, about(epoch=2))) == "waiting"
    assert state(opened, letter(consumer, about(epoch=3))) == "waiting"
    await charged()
    await basket_is("paid")
    await notified()
    assert state(opened, letter(consumer, about(epoch=1))) == "healed"


@pytest.mark.parametrize(
    ("reason", "error", "kind"),
    [
        ("other_content: ordered for 11, but decided for 10", "other_content", "ordered for …, but decided for …"),
        (
            "cannot notify of basket 66b1f0c2a5d3e4f601020304: no template 'v2'",
            "",
            "cannot notify of basket …: no template …",
        ),
        ("attempt: 9", "", "attempt: …"),
        ("", "", ""),
    ],
)
def test_a_reason_begins_with_its_code(reason: str, error: str, kind: str) -> None:
    """Letters are grouped by the code and the rest; older functions told none."""
    found = replace(letter(NOTIFY, decided()), reason=reason)
    assert (found.error, found.kind) == (error, kind)
