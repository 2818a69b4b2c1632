"""One look at a shop's state: what is wrong has its cause, and the look goes by indexes alone."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from bson import Int64, ObjectId

from local.servers.mongodb import Mongod
from operate import actions, metrics, places
from operate.databases import Databases
from operate.groups import Group
from operate.letters import Letter
from operate.metrics import METRICS, exposition
from operate.running import RunningShop
from operate.status import CAUSES, DECISIONS, Orders, Status, decided
from operate.troubles import of_consumers, of_letters
from operate.watch import Watch
from shop.store.client import collection
from tests.operate.stored import baskets, notifications
from wire.event import Event

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def opened(shop: None, mongod: Mongod) -> Iterator[Databases]:
    """Return the three databases as the command reads them."""
    with RunningShop(places.find({"MONGODB_URI": mongod.uri})).databases() as reader:
        yield reader


def look(databases: Databases) -> Status:
    """Look at MongoDB alone."""
    return Watch(places.find({}), databases, None, 1.0).look()


def causes(status: Status) -> list[str]:
    """Return what is wrong, the deepest cause first."""
    return [trouble.cause for trouble in status.troubles]


def basket(number: int, status: str, age_s: float, **more: Any) -> dict[str, Any]:
    """Return a basket that was ordered so long ago."""
    ordered_at = datetime.now(UTC) - timedelta(seconds=age_s)
    kept = {"_id": ObjectId(), "user": "Павел", "number": Int64(number), "status": status, "attempt": Int64(1)}
    return {**kept, "sum": Int64(5), "ordered_at": ordered_at, **more}


def notification(number: int, outcome: str, reason: str, age_s: float) -> dict[str, Any]:
    """Return what a customer was told so long ago."""
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    id_, of = ObjectId(), {"user": f"Павел {number}", "attempt": Int64(1), "sum": Int64(5)}
    times = {"decided_at": at, "recorded_at": at}
    return {"_id": f"{id_}.1", "basket": id_, **of, "outcome": outcome, "reason": reason, **times}


async def test_baskets_are_counted_and_the_oldest_order_has_its_age(opened: Databases) -> None:
    """By the clock of the database; what is younger than a minute is no trouble."""
    for number, (status, age_s) in enumerate([("open", 9), ("ordered", 20), ("ordered", 30), ("paid", 40)], 1):
        due = {"resend_at": datetime.now(UTC) + timedelta(seconds=30)} if status == "ordered" else {}
        await baskets().insert_one(basket(number, status, age_s, **due))
    found = look(opened)
    assert found.orders is not None
    assert dict(found.orders.baskets) == {"open": 1, "ordered": 2, "paid": 1}
    assert 29 < found.orders.oldest_s < 40
    assert causes(found) == []


async def test_recent_decisions_are_counted_by_outcome_and_code(opened: Databases) -> None:
    """What is older is not, and of many the latest count; declines are no trouble."""
    kinds = [("paid", "", 5), ("declined", "insufficient funds", 9), ("declined", "no stock", 20), ("paid", "", 700)]
    kinds += [("declined", "insufficient funds", 30)]
    told = [notification(n, outcome, reason, age_s) for n, (outcome, reason, age_s) in enumerate(kinds)]
    await notifications().insert_many(told)
    found = look(opened)
    assert found.decided == {
        ("paid", ""): 1,
        ("declined", "insufficient_funds"): 2,
        ("declined", "no_account"): 0,
        ("declined", "other"): 1,
    }
    assert decided(found) == "paid 1, declined insufficient_funds 2, declined other 1 in the last 10 min"
    assert causes(found) == []
    await notifications().insert_many([notification(n, "paid", "", 1) for n in range(100, 100 + DECISIONS)])
    assert decided(look(opened)) == f"paid {DECISIONS} of the latest {DECISIONS}"
    assert decided(Status(AT, decided={("paid", ""): 0})) == "nothing in the last 10 min"


async def test_an_order_that_is_stuck_and_one_that_nobody_asks_for_are_troubles(opened: Databases) -> None:
    """The deeper cause comes first: resend_orders does not run."""
    late = datetime.now(UTC) - timedelta(seconds=200)
    await baskets().insert_one(basket(1, "ordered", 300, resend_at=late))
    found = look(opened)
    assert causes(found) == ["resend_late", "undecided"]
    assert "the oldest for 30" in found.troubles[1].says
    assert found.orders is not None
    assert (found.orders.stuck, found.orders.overdue) == (1, 1)


async def test_the_last_verification_of_everybody_counts(opened: Databases) -> None:
    """Not one that has not ended, nor one of a single customer."""
    for problems in (0, 3):
        begun = actions.begin(opened, actions.VERIFY, who="me", why="")
        assert begun is not None
        actions.end(opened, begun, f"{problems} problems", problems)
    of_one = actions.begin(opened, actions.VERIFY, who="me", why="", about=["Павел"])
    assert of_one is not None
    actions.end(opened, of_one, "fine", 0)
    actions.begin(opened, actions.VERIFY, who="me", why="")
    found = look(opened)
    assert causes(found) == ["verify_failed"]
    assert found.orders is not None
    assert found.orders.verified is not None
    assert found.orders.verified.problems == 3


async def test_a_database_that_is_not_set_up_is_the_deepest_cause(shop: None, mongod: Mongod) -> None:
    """As the functions would answer: the database is named, and what it lacks."""
    running = RunningShop(places.find({"MONGODB_URI": mongod.uri, "BILLING_DATABASE": "nowhere"}))
    with running.databases() as reader:
        found = look(reader)
    assert causes(found) == ["not_set_up"]
    assert "nowhere is not set up as the database of billing: it has no index paid_baskets." in found.troubles[0].says


async def test_mongodb_that_is_away_is_the_cause() -> None:
    """And no number is told that nobody knows."""
    away = RunningShop(places.find({"MONGODB_URI": "mongodb://127.0.0.1:1"}), selection_timeout_ms=100)
    with away.databases() as reader:
        found = look(reader)
    assert causes(found) == ["mongodb_away"]
    assert (found.orders, found.letters) == (None, None)
    assert "shop_baskets" not in exposition(found)
    assert "shop_mongodb_up 0" in exposition(found)


async def test_a_look_goes_by_indexes_alone(opened: Databases, mongod: Mongod) -> None:
    """No statement of it reads a whole collection, and counting reads no document."""
    await baskets().insert_many([basket(n, ("open", "ordered", "paid")[n % 3], n) for n in range(1, 301)])
    await notifications().insert_many([notification(n, "paid", "", n * 10) for n in range(100)])
    looked_at = ["orders.baskets", "notify.notifications"]
    with pymongo.MongoClient[dict[str, Any]](mongod.uri) as client:
        profiled = [client[name.partition(".")[0]] for name in looked_at]
        for database in profiled:
            database.command("profile", 2)
        try:
            look(opened)
        finally:
            for database in profiled:
                database.command("profile", 0)
        seen = []
        for database in profiled:
            kept = database["system.profile"].find({"ns": {"$in": looked_at}}, {"planSummary": 1, "docsExamined": 1})
            seen += [each for each in kept if "planSummary" in each]
            database["system.profile"].drop()
    plans = [(each["planSummary"], each.get("docsExamined", 0)) for each in seen]
    assert len(plans) >= 6
    (examined,) = (examined for plan, examined in plans if plan == "IXSCAN { recorded_at: -1, _id: -1 }")
    assert examined <= 60, "what was told longer ago is not read"
    assert not [plan for plan, _ in plans if "COLLSCAN" in plan], plans
    assert all(examined == 0 for plan, examined in plans if plan.startswith("COUNT_SCAN"))


def group(members: int = 1, lag: int = 0, age_s: float = 0) -> Group:
    """Return a group whose oldest record is so old at AT."""
    return Group(members, lag, AT - timedelta(seconds=age_s) if lag else None)


FINE = {"billing-handler": "", "order-handler": "", "notify-handler": ""}


@pytest.mark.parametrize(
    ("group_", "answer", "cause", "words"),
    [
        (group(), "", "", ""),
        (group(lag=5, age_s=20), "", "", ""),
        (group(members=0), "", "no_member", "its KafkaSource is absent or not ready; no event waits"),
        (group(0, 5, 73), "", "no_member", "5 events wait for it, the oldest for 73 s"),
        (group(lag=1, age_s=73), "does not answer GET /healthz within 0.8 s", "no_answer", "1 event waits for it"),
        (group(lag=5), "answers 503 to GET /healthz: not set up", "not_ready", "503 to GET /healthz: not set up; 5"),
        (group(lag=5, age_s=73), "", "behind", "5 events wait for it, the oldest for 73 s; it answers"),
    ],
)
def test_a_consumer_that_does_not_take_its_events_has_one_cause(
    group_: Group, answer: str, cause: str, words: str
) -> None:
    """Why, and how much waits; retries and the pause between two commits are no trouble."""
    groups = {name: group() for name in FINE} | {"billing-handler": group_}
    found = list(of_consumers(Status(AT, groups=groups, answers=FINE | {"billing-handler": answer})))
    assert [(each.cause, each.about) for each in found] == ([(cause, "billing-handler")] if cause else [])
    assert all(words in each.says for each in found)


def test_webhooks_that_are_behind_are_a_trouble_and_none_where_there_are_none() -> None:
    """A component brings them; nobody asks for their health."""
    groups = {name: group() for name in FINE}
    assert list(of_consumers(Status(AT, groups=groups, answers=FINE))) == []
    late = groups | {"webhook-handler": group(lag=2, age_s=90)}
    (found,) = of_consumers(Status(AT, groups=late, answers=FINE))
    assert (found.cause, found.about) == ("behind", "webhook-handler")
    assert found.says.endswith("2 events wait for it, the oldest for 90 s; see its log")


def letter(consumer: str = "billing-handler", code: str = "422", reason: str = "wrong_event: it was edited") -> Letter:
    """Return a dead letter as whoever wrote it has it."""
    event = Event({"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}, b"")
    return Letter(event, consumer, True, code, reason, None, 0, 0, "", AT)


def test_dead_letters_are_a_trouble_by_function_and_code() -> None:
    """Each with its number and its reason, which is never blank."""
    found = Status(AT, letters=[letter(), letter(), letter(reason=""), letter("http://x", "", "")], are_all=False)
    assert found.waiting == {
        ("billing-handler", "wrong_event"): 2,
        ("billing-handler", "422"): 1,
        ("http://x", "no_answer"): 1,
    }
    first, second, third = of_letters(found)
    assert first.says == (
        "at least 2 dead letters wait; billing-handler refused with wrong_event, last at 2026-01-01T00:00:00Z: "
        "it was edited"
    )
    assert second.says.endswith("without a reason")
    assert third.about == "http://x"


# --- metrics ---------------------------------------------------------------------------------------------------------


def full() -> Status:
    """Return a status in which everything is known."""
    verified = actions.Action(ObjectId(), AT, "me", actions.VERIFY, "", (), "fine", 0)
    orders = Orders(AT, {"open": 1, "ordered": 2, "paid": 3}, AT - timedelta(seconds=73), 1, 0, verified)
    groups = {name: group(1, 5, 73) for name in FINE}
    waiting = [letter(), letter('a"b\\c\nd')]
    decisions = {("paid", ""): 40, ("declined", "no_account"): 2}
    return Status(AT, orders, groups, FINE | {"order-handler": "answers 503"}, waiting, True, decisions)


def test_every_metric_is_there_once_with_its_meaning() -> None:
    """Each sample is of a name that has a meaning; the format is that of Prometheus."""
    lines = exposition(full()).splitlines()
    samples = [line.partition(" ")[0].partition("{")[0] for line in lines if not line.startswith("#")]
    assert set(samples) == set(METRICS)
    assert [line.split()[2] for line in lines if line.startswith("# TYPE")] == list(METRICS)
    assert "shop_orders_undecided 2" in lines
    assert "shop_orders_undecided_oldest_seconds 73" in lines
    assert 'shop_decisions{outcome="declined",code="no_account"} 2' in lines
    assert 'shop_decisions{outcome="paid",code=""} 40' in lines
    assert 'shop_consumer_lag{group="billing-handler"} 5' in lines
    assert 'shop_consumer_up{function="order-handler"} 0' in lines
    assert 'shop_dead_letters_waiting{function="billing-handler",code="wrong_event"} 1' in lines
    assert 'shop_dead_letters_waiting{function="notify-handler",code=""} 0' in lines
    assert r'shop_dead_letters_waiting{function="a\"b\\c\nd",code="wrong_event"} 1' in lines
    assert {cause for cause in CAUSES if f'shop_trouble{{cause="{cause}"}} 0' in lines} == set(CAUSES)


def test_what_is_not_known_is_absent() -> None:
    """Never 0, which would be fine."""
    text = exposition(Status(AT))
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} == {
        "shop_mongodb_up",
        "shop_trouble",
        "shop_status_seconds",
    }
    assert metrics.CONTENT_TYPE.startswith("text/plain; version=0.0.4")


# --- what people did -------------------------------------------------------------------------------------------------


async def test_an_action_is_recorded_before_it_is_done_and_once(opened: Databases) -> None:
    """The same form sent twice acts once; a reason is bounded."""
    id_ = ObjectId()
    assert actions.begin(opened, "park", who="Ann", why="x" * 999, about=["b"], id_=id_) == id_
    assert actions.begin(opened, "park", who="Ann", why="again", about=["b"], id_=id_) is None
    (begun,) = actions.of(opened, "b")
    assert (begun.outcome, len(begun.why)) == ("", actions.LONGEST)
    actions.end(opened, id_, "parked 1")
    assert [each.outcome for each in actions.latest(opened)] == ["parked 1"]
    assert actions.of(opened, "another") == []


@pytest.mark.long
async def test_actions_are_bounded(opened: Databases) -> None:
    """The oldest go."""
    old = {"at": AT, "who": "", "verb": "park", "why": "", "about": [], "outcome": ""}
    many = [{"_id": ObjectId.from_datetime(AT + timedelta(seconds=n)), **old} for n in range(actions.KEPT + 5)]
    await collection("orders", "actions").insert_many(many)
    assert actions.begin(opened, "park", who="Ann", why="") is not None
    assert await collection("orders", "actions").count_documents({}) == actions.KEPT
    assert many[5]["_id"] not in [each.id for each in actions.latest(opened, actions.KEPT)]


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_look_at_a_million_baskets_takes_less_than_a_second(opened: Databases, mongod: Mongod) -> None:
    """With a thousand of them undecided, and fifty thousand open."""
    plain = {"attempt": Int64(1), "sum": Int64(5)}
    with pymongo.MongoClient[dict[str, Any]](mongod.uri, w=1) as client:
        for batch in range(100):
            rows = []
            for n in range(batch * 10_000, batch * 10_000 + 10_000):
                status = "ordered" if n % 1000 == 0 else "open" if n % 20 == 1 else "paid"
                at = {"ordered_at": AT + timedelta(seconds=n), "user": f"user {n % 50_000}", "number": Int64(n + 1)}
                rows.append({"status": status, **at, **plain})
            client["orders"]["baskets"].insert_many(rows, ordered=False, bypass_document_validation=True)
    look(opened)
    begun = time.monotonic()
    found = look(opened)
    took_s = time.monotonic() - begun
    assert found.orders is not None
    assert found.orders.baskets == {"open": 50_000, "ordered": 1_000, "paid": 949_000}
    assert took_s < 1, took_s
