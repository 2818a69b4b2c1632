"""What a replay changed is found, field by field, and what changes by itself is not taken for it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from operate.difference import Scope, States
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
PAID, DUE, FOREIGN = ObjectId(), ObjectId(), ObjectId()


class Found:
    """A collection, as far as it is read here."""

    def __init__(self, documents: list[dict[str, Any]], options: Any) -> None:
        self._documents = documents
        self._options = options

    def find(self, wanted: dict[str, Any] | None = None) -> Iterator[RawBSONDocument]:
        """Yield the documents, those of some values of one field."""
        for document in self._documents:
            if all(document[name] in values["$in"] for name, values in (wanted or {}).items()):
                yield RawBSONDocument(bson.encode(document), self._options)


class Shop:
    """The three databases in memory."""

    def __init__(self) -> None:
        basket = {"user": "Ann", "attempt": 1, "sum": 5}
        charged = {"number": 1, "basket": PAID, "attempt": 1, "sum": 5}
        self.documents: dict[str, list[dict[str, Any]]] = {
            "orders.baskets": [
                {"_id": PAID, **basket, "status": "paid"},
                {"_id": DUE, **basket, "user": "Bob", "status": "ordered", "resend_at": NOW},
            ],
            "billing.users": [
                {"_id": "Ann", "balance": 5, "paid_baskets": [charged]},
                {"_id": "Bob", "balance": 5},
                {"_id": "Eve", "balance": 5},
            ],
            "billing.paid_baskets": [{"_id": ObjectId(), "user": "Ann", **charged, "basket": FOREIGN}],
            "notify.notifications": [{"_id": f"{PAID}.1", "user": "Ann", "outcome": "paid"}],
        }

    def collection(self, service: str, name: str, options: object) -> Found:
        """Return one of the collections."""
        return Found(self.documents.get(f"{service}.{name}", []), options)

    def of(self, collection: str, index: int = 0) -> dict[str, Any]:
        """Return a document."""
        return self.documents[collection][index]


@pytest.fixture
def shop() -> Shop:
    """Return databases that the tests here change."""
    return Shop()


def scope() -> Scope:
    """Return what events of both baskets may touch."""
    scope = Scope()
    for user, basket in (("Ann", PAID), ("Bob", DUE)):
        scope.add(PaymentRequested(user=user, basket=str(basket), attempt=1))
        scope.add(PaymentDecided(user=user, basket=str(basket), attempt=1))
    return scope


@pytest.fixture
def states(shop: Shop) -> Iterator[States]:
    """Return both states, the first of them taken."""
    states = States(shop, scope())  # type: ignore[arg-type]
    states.take("before")
    yield states
    states.close()


def changes(states: States) -> list[str]:
    """Return the documents that differ, and what that means."""
    states.take("after")
    return [f"{each.title}: {each.meaning}" for each in states.differences()]


def test_the_documents_that_events_may_touch_are_compared_and_no_others(shop: Shop, states: States) -> None:
    """Baskets, accounts with their archive, notifications; of these users, or of everybody when that is asked for."""
    assert states.size("before") == 6
    shop.of("billing.users", 2)["balance"] = 0
    assert changes(states) == []
    assert states.digest("before") == states.digest("after")
    everything = States(shop, scope(), everything=True)  # type: ignore[arg-type]
    everything.take("before")
    shop.of("billing.users", 2)["balance"] = 5
    assert changes(everything) == ["billing.users Eve: changed"]
    assert everything.size("before") == 7
    everything.close()


@pytest.mark.parametrize(
    "collection", ["orders.baskets", "billing.users", "billing.paid_baskets", "notify.notifications"]
)
def test_each_kind_of_change_is_found_in_each_collection(shop: Shop, states: States, collection: str) -> None:
    """A field that differs, a document that is gone, one that was not there."""
    before = shop.of(collection)
    shop.documents[collection][0] = {**before, "new": 1}
    assert [each.rpartition(": ")[2] for each in changes(states)] == ["changed"]
    assert states.digest("before") != states.digest("after")
    (difference,) = states.differences()
    assert difference.fields == [("new", "", "1")]
    removed = States(shop, scope())  # type: ignore[arg-type]
    removed.take("before")
    del shop.documents[collection][0]
    assert [each.rpartition(": ")[2] for each in changes(removed)] == ["removed"]
    removed.close()
    made = States(shop, scope())  # type: ignore[arg-type]
    made.take("before")
    shop.documents[collection].insert(0, before)
    assert [each.rpartition(": ")[2] for each in changes(made)] == ["made"]
    made.close()


def test_what_resend_claims_baskets_by_is_not_compared(shop: Shop, states: States) -> None:
    """It changes each minute, whatever is replayed; all other fields of that basket count."""
    shop.of("orders.baskets", 1)["resend_at"] = NOW + timedelta(minutes=1)
    assert changes(states) == []
    assert states.digest("before") == states.digest("after")
    shop.of("orders.baskets", 1)["sum"] = 6
    assert changes(states) == [f"orders.baskets {DUE} of Bob: changed"]


def test_a_basket_that_became_due_is_left_out_with_its_user_and_notification(shop: Shop, states: States) -> None:
    """Resend may have had it paid; not so one that was not due yet, nor the other users."""
    shop.of("orders.baskets", 1)["status"] = "paid"
    shop.of("billing.users", 1)["balance"] = 0
    shop.documents["notify.notifications"].append({"_id": f"{DUE}.1", "user": "Bob", "outcome": "paid"})
    assert len(changes(states)) == 3
    assert states.exclude_resent(NOW - timedelta(milliseconds=1)) == 0
    assert len(changes(states)) == 3
    assert states.exclude_resent(NOW) == 1
    assert changes(states) == []
    assert states.digest("before") == states.digest("after")
    shop.of("billing.users")["balance"] = 0
    assert changes(states) == ["billing.users Ann: changed"]


def test_effects_that_came_are_counted(shop: Shop, states: States) -> None:
    """One for each event: of a request its charge, of a decision what came of it; a decline is told apart."""
    shop.of("billing.users", 1)["declined"] = {"basket": DUE, "attempt": 1, "sum": 5}
    shop.of("orders.baskets", 1)["status"] = "open"
    shop.documents["notify.notifications"].append({"_id": f"{DUE}.1", "user": "Bob", "outcome": "declined"})
    states.take("after")
    assert states.taken["after"].since(states.taken["before"]) == (0, 2)
    del shop.of("billing.users", 1)["declined"]
    shop.of("billing.users", 1)["paid_baskets"] = [{"number": 1, "basket": DUE, "attempt": 1, "sum": 5}]
    shop.of("orders.baskets", 1)["status"] = "paid"
    shop.of("notify.notifications", 1)["outcome"] = "paid"
    states.take("after")
    assert states.taken["after"].since(states.taken["before"]) == (2, 0)


def test_a_charge_is_told_by_what_it_amounts_to(shop: Shop, states: States) -> None:
    """Once more for the same basket; for what was declined; or for the first time."""
    ann, bob = shop.of("billing.users"), shop.of("billing.users", 1)
    ann["paid_baskets"] = [*ann["paid_baskets"], {"number": 1, "basket": PAID, "attempt": 2, "sum": 5}]
    bob["paid_baskets"] = [{"number": 1, "basket": DUE, "attempt": 1, "sum": 5}]
    assert changes(states) == [
        f"billing.users Ann: charged AGAIN for basket {PAID} attempt 2, sum 5",
        f"billing.users Bob: charged for basket {DUE} attempt 1, sum 5",
    ]
    bob["paid_baskets"] = []
    bob["declined"] = {"basket": DUE, "attempt": 1, "sum": 5}
    declined = States(shop, scope())  # type: ignore[arg-type]
    declined.take("before")
    bob["paid_baskets"] = [{"number": 1, "basket": DUE, "attempt": 1, "sum": 5}]
    assert changes(declined) == [f"billing.users Bob: charged for what was DECLINED: basket {DUE} attempt 1, sum 5"]
    declined.close()
