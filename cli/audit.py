"""What must hold of one user, whatever happened: the sums, and that the three services tell the same story.

The checks are of one user at a time, so memory does not grow with their number. What is on its way is no problem: an
order or decision counts only once it is older than the limit given.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

from bson import ObjectId

from cli.databases import Databases, Document

_USERS_AT_ONCE: Final = 200
_PAID, _DECLINED = "paid", "declined"


@dataclass
class History:
    """All that the three databases hold of one user; the archives only when they were asked for."""

    user: str
    accounts: list[Document]
    archived_baskets: list[Document]
    archived_deposits: list[Document]
    baskets: list[Document]
    notifications: list[Document]

    @property
    def account(self) -> Document:
        """Return the user document, empty when there is none."""
        return self.accounts[0] if self.accounts else {}


@dataclass(frozen=True)
class Problem:
    """Something that must not be."""

    user: str
    kind: str
    about: str
    """The basket, or the basket and attempt; empty for the account as a whole."""

    detail: str = field(compare=False)
    basket: Document | None = field(default=None, compare=False)
    """The basket whose event, sent again, repairs it; None when no event does."""

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "user": self.user,
            "kind": self.kind,
            "about": self.about or None,
            "detail": self.detail,
            "repairable": self.basket is not None,
        }


# --- reading ---------------------------------------------------------------------------------------------------------


def histories(databases: Databases, user: str | None = None, *, archives: bool = False) -> Iterator[History]:
    """Yield the history of every user, or of one, in the order of their names.

    On a live system: each user document is read before the archives, so that an entry that moves meanwhile is seen
    twice rather than not at all, and before the other services, which only ever learn of what it holds.
    """
    users = databases.collection("billing", "users")
    if user is not None:
        yield from _merged(databases, list(users.find({"_id": user})), {"$eq": user}, archives)
        return
    after: dict[str, str] = {}
    while True:
        accounts = list(users.find({"_id": after} if after else {}, sort=[("_id", 1)], limit=_USERS_AT_ONCE))
        # The last batch has no end: it takes the users whom billing does not know.
        last = len(accounts) < _USERS_AT_ONCE
        between = after | ({} if last else {"$lte": accounts[-1]["_id"]})
        yield from _merged(databases, accounts, between, archives)
        if last:
            return
        after = {"$gt": accounts[-1]["_id"]}


def _merged(
    databases: Databases, accounts: Iterable[Document], between: dict[str, str], archives: bool
) -> Iterator[History]:
    """Merge what is read of a range of users, each collection in the order of users by an index."""

    def read(service: str, name: str, *order: tuple[str, int]) -> "_ByUser":
        query = {"user": between} if between else {}
        found = databases.collection(service, name).find(query, sort=[("user", 1), *order], batch_size=1000)
        return _ByUser(found, "user")

    nothing: list[Document] = []
    streams = (
        _ByUser(accounts, "_id"),
        read("billing", "paid_baskets", ("basket", 1)) if archives else _ByUser(nothing, "user"),
        read("billing", "deposits", ("key", 1)) if archives else _ByUser(nothing, "user"),
        read("orders", "baskets", ("number", 1)),
        read("notify", "notifications", ("recorded_at", -1), ("_id", -1)),
    )
    while waiting := [stream.user for stream in streams if stream.user is not None]:
        next_user = min(waiting)  # Python and MongoDB both order text by its code points
        yield History(next_user, *(stream.take(next_user) for stream in streams))


class _ByUser:
    """Documents in the order of their users, taken user by user."""

    def __init__(self, documents: Iterable[Document], field: str) -> None:
        self._groups = groupby(documents, key=lambda document: document[field])
        self.user: str | None = None
        self._documents: Iterator[Document] = iter(())
        self._advance()

    def _advance(self) -> None:
        self.user, self._documents = next(self._groups, (None, iter(())))

    def take(self, user: str) -> list[Document]:
        """Return the documents of this user if it is their turn."""
        if user != self.user:
            return []
        documents = list(self._documents)
        self._advance()
        return documents


# --- checking --------------------------------------------------------------------------------------------------------


def problems(history: History, now: datetime, older_than: timedelta, *, archives: bool) -> Iterator[Problem]:
    """Yield what is wrong with one user."""
    check = _Check(history, now - older_than, archives)
    yield from check.money()
    yield from check.baskets()
    yield from check.notifications()


class _Check:
    def __init__(self, history: History, settled_by: datetime, archives: bool) -> None:
        self._history = history
        self._settled_by = settled_by
        self._archives = archives
        self._account = history.account
        self._entries: list[Document] = self._account.get("paid_baskets", [])
        self._archived: Document = self._account.get("archived", {})
        self._through = self._account.get("archived_through", 0)
        current = {entry["basket"] for entry in self._entries}
        # What is in both was being moved when we looked, or when somebody crashed: one charge.
        self._moved = [entry for entry in history.archived_baskets if entry["basket"] not in current]
        self._charges: dict[ObjectId, Document] = {
            entry["basket"]: entry for entry in (*history.archived_baskets, *self._entries)
        }

    def _problem(self, kind: str, about: object, detail: str, basket: Document | None = None) -> Problem:
        return Problem(self._history.user, kind, str(about), detail, basket)

    def _is_old(self, moment: datetime | None) -> bool:
        return moment is not None and moment <= self._settled_by

    def money(self) -> Iterator[Problem]:
        """Balance = deposits - paid, from the user document alone; with the archives, also what they add up to."""
        deposits = self._account.get("deposits", [])
        deposited = total(deposits) + self._archived.get("deposited", 0)
        paid = total(self._entries) + self._archived.get("paid", 0)
        balance = self._account.get("balance", 0)
        if balance != deposited - paid:
            yield self._problem("balance", "", f"balance {balance}, yet {deposited} deposited - {paid} paid")
        seen: set[ObjectId] = set()
        for entry in self._entries:
            if entry["basket"] in seen:
                yield self._problem("charged twice", entry["basket"], f"again for {entry['sum']}")
            seen.add(entry["basket"])
        if not self._archives:
            return
        if total(self._moved) != self._archived.get("paid", 0):
            detail = f"the archive holds {total(self._moved)}, yet {self._archived.get('paid', 0)} was moved there"
            yield self._problem("archived charges", "", detail)
        keys = {str(deposit["key"]) for deposit in deposits}
        moved = [deposit for deposit in self._history.archived_deposits if str(deposit["key"]) not in keys]
        if (total(moved), len(moved)) != (self._archived.get("deposited", 0), self._archived.get("deposits", 0)):
            detail = (
                f"the archive holds {len(moved)} of {total(moved)}, yet {self._archived.get('deposits', 0)} "
                f"of {self._archived.get('deposited', 0)} were moved there"
            )
            yield self._problem("archived deposits", "", detail)

    def baskets(self) -> Iterator[Problem]:
        """Each paid basket has its charge, each charge its basket, and nothing old is undecided."""
        known = {basket["_id"]: basket for basket in self._history.baskets}
        for basket in self._history.baskets:
            yield from self._of_basket(basket, self._charges.get(basket["_id"]))
        for charge in self._charges.values():
            if charge["basket"] not in known:
                yield self._problem("no basket", charge["basket"], f"charged {charge['sum']} for what orders lacks")
        unpaid = [basket for basket in self._history.baskets if basket["status"] != _PAID]
        if len(unpaid) > 1:
            yield self._problem("two unpaid baskets", unpaid[0]["_id"], f"and {unpaid[1]['_id']}")
        if not self._archives:
            settled = total(
                basket
                for basket in self._history.baskets
                if basket["status"] == _PAID and basket["number"] <= self._through
            )
            if settled != self._archived.get("paid", 0):
                detail = (
                    f"baskets up to number {self._through} are paid with {settled}, "
                    f"yet {self._archived.get('paid', 0)} was charged for them"
                )
                yield self._problem("archived charges", "", detail)

    def _of_basket(self, basket: Document, charge: Document | None) -> Iterator[Problem]:
        status, attempt, about = basket["status"], basket["attempt"], basket["_id"]
        if charge is not None and status != "ordered":
            if status != _PAID:
                yield self._problem("charged, not paid", about, f"charged {charge['sum']}, yet the basket is {status}")
            elif (charge["sum"], charge["attempt"]) != (basket["sum"], attempt):
                detail = (
                    f"attempt {attempt} is paid with {basket['sum']}, "
                    f"yet attempt {charge['attempt']} was charged {charge['sum']}"
                )
                yield self._problem("other sum", about, detail)
        elif status == _PAID and (self._archives or basket["number"] > self._through):
            yield self._problem("paid, not charged", about, f"attempt {attempt}, sum {basket['sum']}")
        elif status == "ordered" and self._is_old(basket["ordered_at"]):
            yield self._undecided(basket, charge)

    def _undecided(self, basket: Document, charge: Document | None) -> Problem:
        declined = self._account.get("declined", {})
        since = f"attempt {basket['attempt']}, sum {basket['sum']}, ordered at {basket['ordered_at']:%Y-%m-%d %H:%M:%S}"
        if charge is not None:
            if (charge["sum"], charge["attempt"]) != (basket["sum"], basket["attempt"]):
                return self._problem("other sum", basket["_id"], f"{since}, yet charged {charge['sum']}")
            return self._problem("not settled", basket["_id"], f"{since}, and charged", basket)
        if (declined.get("basket"), declined.get("attempt")) == (basket["_id"], basket["attempt"]):
            return self._problem("not settled", basket["_id"], f"{since}, and declined", basket)
        return self._problem("undecided", basket["_id"], since, basket)

    def notifications(self) -> Iterator[Problem]:
        """Each decision has its notification, and each notification its decision."""
        found = {notification["_id"]: notification for notification in self._history.notifications}
        for basket in self._history.baskets:
            for attempt in range(1, basket["attempt"] + 1):
                notification = found.pop(f"{basket['_id']}.{attempt}", None)
                yield from self._of_attempt(basket, attempt, notification)
        for id_, notification in found.items():
            yield self._problem("no decision", id_, f"notified {notification['outcome']}, yet nobody ordered it")

    def _of_attempt(self, basket: Document, attempt: int, notification: Document | None) -> Iterator[Problem]:
        about = f"{basket['_id']}.{attempt}"
        latest = attempt == basket["attempt"]
        # An attempt is over when there is a later one, or when the basket is settled; it was declined unless it paid.
        settled = not latest or basket["status"] != "ordered"
        outcome = _PAID if latest and basket["status"] == _PAID else _DECLINED
        if notification is None:
            if settled and self._is_old(basket.get("decided_at") if latest else basket["ordered_at"]):
                if not latest:
                    yield self._problem("not notified", about, "declined, then ordered again: no event tells of it")
                else:
                    charged = outcome == _DECLINED or basket["_id"] in self._charges or self._in_archive(basket)
                    yield self._problem("not notified", about, outcome, basket if charged else None)
        elif settled and notification["outcome"] != outcome:
            yield self._problem("contradiction", about, f"notified {notification['outcome']}, yet {outcome}")
        elif latest and notification["sum"] != basket["sum"]:
            yield self._problem("contradiction", about, f"notified of {notification['sum']}, yet {basket['sum']}")

    def _in_archive(self, basket: Document) -> bool:
        return not self._archives and basket["number"] <= self._through


def total(entries: Iterable[Document]) -> int:
    """Add up the sums of entries."""
    return sum(int(entry["sum"]) for entry in entries)
