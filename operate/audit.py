"""What must hold of one user, whatever happened: the sums, and that the three services tell the same story.

What is on its way is no problem: an order or a decision counts only once it is older than the limit given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from bson import ObjectId

from operate import payments
from operate.databases import Document
from operate.histories import History
from operate.payments import Payment
from shop.messages import TERMS, happened_at, other_term, terms
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided

_BY_HAND: Final = "correct it by hand: docs/faults.md, Correct by hand"

# It is listed for ever, so the key is named: whoever does it once more, does it once.
_GIVE_BACK: Final = "give the sum back with POST /DepositCash and the Idempotency-Key refund-<basket>"

REMEDIES: Final[Mapping[str, str]] = {
    "undecided": "--repair asks billing again, as resend does by itself",
    "not settled": "--repair sends billing's decision again",
    "not notified": "--repair sends billing's decision again; what billing no longer holds cannot be sent",
    "paid, not charged": "nothing charges it any more: ask the customer for the money, or let it be",
    "charged, not paid": f"the next order for the same sum is paid by this charge; else {_BY_HAND}",
    "later decision": f"billing refuses the next order of this basket; {_BY_HAND}",
    "lost decline": f"billing refuses the next order of this basket; {_BY_HAND}",
    "other terms": _BY_HAND,
    "no basket": f"{_GIVE_BACK}; a decline alone does no harm",
    "two unpaid baskets": "only the later one is answered by GET /GetBasket; remove the other when nobody was charged",
    "contradiction": "nobody is notified twice: tell the customer",
    "no decision": "orders knows nothing of what was notified: tell the customer",
    "charged twice": _GIVE_BACK,
    "balance": "find who wrote to billing.users; no event changes a balance that does not add up",
    "archived charges": "restore users, paid_baskets and deposits of billing as of one moment",
    "archived deposits": "restore users, paid_baskets and deposits of billing as of one moment",
    "counted twice": "none needed: the balance is right, and billing counts anew when it archives next",
}
"""Every kind of problem, and what can be done."""


@dataclass(frozen=True)
class Problem:
    """Something that must not be."""

    user: str
    kind: str
    about: str
    """The basket, or the basket and attempt; empty for the account as a whole."""

    detail: str = field(compare=False)
    says: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What each service says of the basket; empty for the account as a whole."""

    repair: Payment | None = field(default=None, compare=False)
    """The event that repairs it; None when no event does."""

    traceparent: str | None = field(default=None, compare=False)
    """The trace of the order that it belongs to, as the functions emit it."""

    @property
    def remedy(self) -> str:
        """Return what can be done."""
        return REMEDIES[self.kind]

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "user": self.user,
            "kind": self.kind,
            "about": self.about or None,
            "detail": self.detail,
            **self.says,
            "repairable": self.repair is not None,
            "remedy": self.remedy,
        }


def problems(history: History, settled_by: datetime, epoch: int) -> Iterator[Problem]:
    """Yield what is wrong with one user.

    What was ordered or decided after `settled_by` may still be on its way. Without the archives, what is in them is
    taken for what orders says of it, as far as the account's totals agree.
    """
    check = _Check(history, settled_by, epoch)
    yield from check.money()
    yield from check.baskets()
    yield from check.notifications()


# --- what orders and billing say of one basket -----------------------------------------------------------------------


class Said(NamedTuple):
    """What a service says became of a basket: in which state it is, since which attempt, on which terms."""

    status: str
    attempt: int = 0
    terms: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """Say it in words."""
        if self.terms is None:
            return self.status
        agreed = "".join(f", {name} {value}" for name, value in self.terms.items())
        return f"{self.status} (attempt {self.attempt}{agreed})"


_NOTHING: Final = Said("nothing")
_NO_ORDER: Document = {}
_ANY: Final = "any"

_CASES: Final = (
    # orders says | billing says | billing's attempt, and terms | what is wrong; nothing when empty
    ("paid", "paid", "the same", ""),
    ("paid", "paid", _ANY, "other terms"),
    ("paid", _ANY, _ANY, "paid, not charged"),
    ("ordered", "paid", "the same", "not settled"),
    ("ordered", "declined", "the same", "not settled"),
    ("ordered", "paid", "on other terms", "other terms"),
    (_ANY, "paid", _ANY, "charged, not paid"),
    ("open", "declined", "the same", ""),
    ("open", "nothing", "the same", ""),  # never ordered
    (_ANY, "declined", "on other terms", "other terms"),
    (_ANY, "declined", "later", "later decision"),
    ("ordered", _ANY, "the one before", "undecided"),
    (_ANY, _ANY, _ANY, "lost decline"),
)


def difference(orders: Said, billing: Said) -> str:
    """Name what is wrong when orders and billing say this of one basket: the first case that fits."""
    seen = (orders.status, billing.status, _attempt(orders, billing))
    return next(wrong for *case, wrong in _CASES if all(a in (_ANY, b) for a, b in zip(case, seen, strict=True)))


def _attempt(orders: Said, billing: Said) -> str:
    if billing.attempt > orders.attempt:
        return "later"
    if billing.attempt == orders.attempt:
        return "the same" if billing.terms == orders.terms else "on other terms"
    return "the one before" if billing.attempt == orders.attempt - 1 else "older"


# --- what an account and its archive say of each other ----------------------------------------------------------------


@dataclass(frozen=True)
class Moved:
    """How many entries an archive holds, or should hold, and what they add up to."""

    count: int
    sum: int

    def __str__(self) -> str:
        """Say it in words. 67d5614 did not count the charges that it moved."""
        return f"{self.count} of {self.sum} in all" if self.count else f"{self.sum} in all"


def archive_difference(said: Moved, held: Moved) -> str:
    """Say what is wrong when an account moved so much to an archive that holds so much: the first that fits.

    An archive may hold more entries than were counted, never less: 67d5614 moved charges without counting them.
    """
    if held.sum == said.sum and held.count >= said.count:
        return ""
    if held.sum < said.sum or held.count < said.count:
        return "the archive is from an older backup than the account; what rests on it is answered 503"
    return "the account is from an older backup than the archive; what rests on it is answered 503"


def _of(entries: Sequence[Document]) -> Moved:
    return Moved(len(entries), total(entries))


# --- checking --------------------------------------------------------------------------------------------------------


class _Check:
    def __init__(self, history: History, settled_by: datetime, epoch: int) -> None:
        self._history = history
        self._settled_by = settled_by
        self._epoch = epoch
        self._account = history.account
        self._entries: list[Document] = self._account.get("paid_baskets", [])
        self._declined: Document = self._account.get("declined", {})
        self._archived: Document = self._account.get("archived", {})
        self._through = self._account.get("archived_through", 0)
        current = {entry["basket"] for entry in self._entries}
        # What is in both was being moved when we looked, or when somebody crashed: one charge.
        self._moved = [entry for entry in history.archived_baskets if entry["basket"] not in current]
        self._charges: dict[ObjectId, Document] = {
            entry["basket"]: entry for entry in (*history.archived_baskets, *self._entries)
        }
        self._notified = {each["_id"]: each for each in history.notifications}

    def _is_old(self, moment: datetime | None) -> bool:
        """Whether it cannot be on its way any more; so is what nobody knows the time of."""
        return moment is None or moment <= self._settled_by

    def _on_account(self, kind: str, detail: str, about: object = "") -> Problem:
        return Problem(self._history.user, kind, str(about), detail)

    def _on_basket(
        self, kind: str, basket: ObjectId, orders: Said, attempt: int | None = None, event: Payment | None = None
    ) -> Problem:
        """Return a problem with a basket, or with one attempt of it, and what each service says."""
        says = {"orders": str(orders), "billing": str(self._billing(basket)), "notify": self._notify(basket)}
        about = str(basket) if attempt is None else f"{basket}.{attempt}"
        detail = "; ".join(f"{service} says {said}" for service, said in says.items())
        return Problem(self._history.user, kind, about, detail, says, event, self._traceparent(event))

    def _traceparent(self, event: Payment | None) -> str | None:
        """Return the trace in which orders has the attempt of an event as ordered."""
        if event is None:
            return None
        of = next((basket for basket in self._history.baskets if str(basket["_id"]) == event.basket), _NO_ORDER)
        its = next((each for each in (of, *of.get("declines", [])) if each.get("attempt") == event.attempt), _NO_ORDER)
        return its.get("traceparent")

    # -- the account

    def money(self) -> Iterator[Problem]:
        """Balance = deposits - paid, from the user document alone; with the archives, also what they add up to."""
        deposits = self._account.get("deposits", [])
        deposited = total(deposits) + self._archived.get("deposited", 0)
        paid = total(self._entries) + self._archived.get("paid", 0)
        balance = self._account.get("balance", 0)
        if balance != deposited - paid and not self._is_counted_twice():
            yield self._on_account("balance", f"balance {balance}, but {deposited} deposited - {paid} paid")
        seen: set[ObjectId] = set()
        for entry in self._entries:
            if entry["basket"] in seen:
                yield self._on_account("charged twice", f"again for {entry['sum']}", entry["basket"])
            seen.add(entry["basket"])
        if self._history.has_archives:
            yield from self._archives()
        else:
            yield from self._archived_as_orders_says()

    def _archives(self) -> Iterator[Problem]:
        """Each archive holds what the account says that it moved there."""
        keys = {str(deposit["key"]) for deposit in self._account.get("deposits", ())}
        moved = [deposit for deposit in self._history.archived_deposits if str(deposit["key"]) not in keys]
        for kind, held, said in (
            ("archived charges", _of(self._moved), self._said_moved("paid_baskets", "paid")),
            ("archived deposits", _of(moved), self._said_moved("deposits", "deposited")),
        ):
            if wrong := archive_difference(said, held):
                detail = f"the archive holds {held}, but {said} was moved there: {wrong}"
                if kind == "archived charges" and self._is_counted_twice():
                    kind = "counted twice"
                    detail = (
                        f"archived.paid is {said.sum}, but the {held.count} entries in the archive add up to "
                        f"{held.sum}, as the balance has it: until 67d5614 one move could be counted several times"
                    )
                yield self._on_account(kind, detail)

    def _said_moved(self, count: str, sum_: str) -> Moved:
        return Moved(self._archived.get(count, 0), self._archived.get(sum_, 0))

    def _is_counted_twice(self) -> bool:
        """Whether the archive's total is too high, and nothing else: the balance goes with the entries."""
        deposits = total(self._account.get("deposits", ())) + self._archived.get("deposited", 0)
        return (
            self._history.has_archives
            and total(self._moved) < self._archived.get("paid", 0)
            and self._account.get("balance", 0) == deposits - total(self._charges.values())
        )

    def _archived_as_orders_says(self) -> Iterator[Problem]:
        """Without the archives: what orders has as paid, and is not in the account, was moved to the archive."""
        settled = total(basket for basket in self._history.baskets if self._must_be_archived(basket))
        if settled != self._archived.get("paid", 0):
            detail = (
                f"baskets up to number {self._through} are paid with {settled}, "
                f"yet {self._archived.get('paid', 0)} was charged for them"
            )
            yield self._on_account("archived charges", detail)

    def _must_be_archived(self, basket: Document) -> bool:
        return (
            not self._history.has_archives
            and basket["status"] == "paid"
            and basket["number"] <= self._through
            and basket["_id"] not in self._charges
        )

    # -- the baskets

    def baskets(self) -> Iterator[Problem]:
        """Orders and billing say the same of each basket, and nothing old is undecided."""
        known = {basket["_id"] for basket in self._history.baskets}
        for basket in self._history.baskets:
            yield from self._of_basket(basket)
        for lacking in dict.fromkeys((*self._charges, self._declined.get("basket"))):
            if lacking is not None and lacking not in known:
                yield self._on_basket("no basket", lacking, _NOTHING)
        unpaid = [basket for basket in self._history.baskets if basket["status"] != "paid"]
        if len(unpaid) > 1:
            yield self._on_account("two unpaid baskets", f"and {unpaid[1]['_id']}", unpaid[0]["_id"])

    def _of_basket(self, basket: Document) -> Iterator[Problem]:
        if self._must_be_archived(basket):
            return
        orders = _orders(basket)
        wrong = difference(orders, self._billing(basket["_id"]))
        since = basket.get("ordered_at") if basket["status"] == "ordered" else basket.get("decided_at")
        if not wrong or not self._is_old(since):
            return
        event: Payment | None = None
        if wrong == "undecided":
            event = payments.requested(basket, self._epoch)
        elif wrong == "not settled":
            event = self._decision(basket["_id"], basket["attempt"])
        yield self._on_basket(wrong, basket["_id"], orders, event=event)

    def _billing(self, basket: ObjectId) -> Said:
        """Return what billing says of a basket: its charge comes before any decline."""
        if charge := self._charges.get(basket):
            return _said("paid", charge)
        if self._declined.get("basket") == basket:
            return _said("declined", self._declined)
        return _NOTHING

    def _decision(self, basket: ObjectId, attempt: int) -> PaymentDecided | None:
        """Return what billing has stored as decided of this very attempt, as it told it."""
        charge = self._charges.get(basket)
        if charge is not None:
            return payments.paid(self._history.user, charge, self._epoch) if charge["attempt"] == attempt else None
        if (self._declined.get("basket"), self._declined.get("attempt")) == (basket, attempt):
            return payments.declined(self._history.user, self._declined, self._epoch)
        return None

    # -- the notifications

    def notifications(self) -> Iterator[Problem]:
        """Each decision has its notification, and each notification its decision."""
        left = dict(self._notified)
        for basket in self._history.baskets:
            for attempt in range(1, basket["attempt"] + 1):
                notification = left.pop(f"{basket['_id']}.{attempt}", None)
                if wrong := self._of_attempt(basket, attempt, notification):
                    event = self._decision(basket["_id"], attempt) if wrong == "not notified" else None
                    yield self._on_basket(wrong, basket["_id"], _orders(basket), attempt, event)
        for stray in left.values():
            if not self._is_old(stray["recorded_at"]):
                continue  # orders was read before it: what it tells of may have been ordered in between
            orders = next((_orders(each) for each in self._history.baskets if each["_id"] == stray["basket"]), _NOTHING)
            yield self._on_basket("no decision", stray["basket"], orders, stray["attempt"])

    def _of_attempt(self, basket: Document, attempt: int, notification: Document | None) -> str:
        """Name what is wrong with the notification of one attempt; empty when nothing is."""
        is_latest = attempt == basket["attempt"]
        # An attempt is over when there is a later one, or when the basket is settled; it was declined unless it paid.
        is_over = not is_latest or basket["status"] != "ordered"
        outcome = "paid" if is_latest and basket["status"] == "paid" else "declined"
        if notification is None:
            decided_at = basket.get("decided_at") if is_latest else basket["ordered_at"]
            return "not notified" if is_over and self._is_old(decided_at) else ""
        decision = self._decision(basket["_id"], attempt)
        wrong = (
            is_over and notification["outcome"] != outcome,
            is_latest and other_term(notification, basket) is not None,
            decision is not None and not tells_of(notification, decision),
        )
        return "contradiction" if any(wrong) else ""

    def _notify(self, basket: ObjectId) -> str:
        found = (_said(each["outcome"], each) for each in self._notified.values() if each["basket"] == basket)
        return ", ".join(map(str, sorted(found, key=lambda said: said.attempt))) or str(_NOTHING)


def _orders(basket: Document) -> Said:
    return _said(basket["status"], basket)


def _said(status: str, document: Document) -> Said:
    return Said(status, document["attempt"], {name: document[name] for name in TERMS if name in document} or None)


def tells_of(notification: Document, decided: PaymentDecided) -> bool:
    """Whether a notification has the content of this decision, as notify_handler compares them."""
    outcome = {PAID: "paid", DECLINED: "declined"}.get(decided.outcome)
    return (
        notification["user"] == decided.user
        and str(notification["basket"]) == decided.basket
        and notification["attempt"] == decided.attempt
        and other_term(notification, terms(decided)) is None
        and (notification["outcome"], notification["reason"]) == (outcome, decided.reason)
        and notification["decided_at"] == happened_at(decided)
    )


def total(entries: Iterable[Document]) -> int:
    """Add up the sums of entries."""
    return sum(int(entry["sum"]) for entry in entries)
