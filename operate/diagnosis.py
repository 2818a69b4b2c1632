"""Say in one sentence why an order is where it is, and what happens next: computed from state, never remembered."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bson import ObjectId

from operate.databases import Databases, Document
from operate.letters import Letter
from operate.status import Status, kind_of, waiting
from shop.state import OPEN, ORDERED

_ON_ITS_WAY_S: Final = 5.0
"""How long an event may take before it counts as lost or retried; usually it takes some milliseconds."""

_LATE_S: Final = 90.0
"""How long after its time a resend may come: it comes each minute, and takes some seconds."""

_CONSUMER_CAUSES: Final = ("no_member", "no_answer", "not_ready", "behind")


@dataclass(frozen=True)
class Known:
    """What the three databases hold of one basket."""

    basket: Document | None
    decision: Document | None = None
    """What billing holds as decided of its latest attempt: `paid_at` for a charge, `decided_at` for a decline."""

    is_notified: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether nothing is on its way: neither a decision nor its notification."""
        if self.basket is None or not self.basket["attempt"]:
            return True
        return self.basket["status"] != ORDERED and self.is_notified


def read(databases: Databases, basket: ObjectId) -> Known:
    """Look a basket up, each time by an index."""
    stored = databases.collection("orders", "baskets").find_one({"_id": basket})
    if stored is None:
        return Known(None)
    user, attempt = stored["user"], stored["attempt"]
    account: Document = databases.collection("billing", "users").find_one({"_id": user}) or {}
    entries = [*account.get("paid_baskets", ()), account.get("declined", {})]
    archived = databases.collection("billing", "paid_baskets").find_one({"user": user, "basket": basket})
    decided = [
        each for each in (*entries, archived or {}) if (each.get("basket"), each.get("attempt")) == (basket, attempt)
    ]
    told = databases.collection("notify", "notifications").find_one({"_id": f"{basket}.{attempt}"}, {"_id": 1})
    return Known(stored, decided[0] if decided else None, told is not None)


def sentence(known: Known, status: Status) -> str:
    """Say it."""
    basket = known.basket
    if basket is None:
        return "No basket has this id."
    now = status.orders.now if status.orders is not None else status.at
    if not basket["attempt"]:
        return "Never ordered: no POST /Order has come for it."
    if basket["status"] == ORDERED:
        since = f"Ordered {lasting((now - basket['ordered_at']).total_seconds())} ago"
        return f"{since}; {_why_undecided(known, basket, status, now)}; {_next(basket, now)}."
    took = lasting((basket["decided_at"] - basket["ordered_at"]).total_seconds())
    ago = lasting((now - basket["decided_at"]).total_seconds())
    if basket["status"] == OPEN:
        said = f"Declined {ago} ago, {took} after it was ordered: {basket.get('reason') or 'without a reason'}"
        said += f"; the customer may order it again, as attempt {basket['attempt'] + 1}"
    else:
        said = f"Paid {ago} ago, {took} after it was ordered"
    if not known.is_notified:
        why = _why(known, "notify-handler", status, now, basket["decided_at"])
        said += f"; notify-handler has not told the customer{why}"
    return f"{said}."


def _why_undecided(known: Known, basket: Document, status: Status, now: datetime) -> str:
    decision = known.decision
    if decision is None:
        return f"billing-handler has not decided{_why(known, 'billing-handler', status, now, basket['ordered_at'])}"
    outcome, at = ("charged", decision["paid_at"]) if "paid_at" in decision else ("declined", decision["decided_at"])
    told = (
        f"billing-handler {outcome} it {lasting((now - at).total_seconds())} ago, and order-handler has not settled it"
    )
    return f"{told}{_why(known, 'order-handler', status, now, at)}"


def _why(known: Known, consumer: str, status: Status, now: datetime, since: datetime) -> str:
    """Say why a consumer has not done its part: the deepest cause that is known."""
    letters = [each for each in _of(status.letters or (), known.basket or {}) if each.consumer == consumer]
    if refused := [each for each in letters if each.refused]:
        return f": it refused the event with {_said(refused[-1])}, which waits as a dead letter"
    if away := status.of("kafka_away"):
        return f": {away.says}"
    for cause in _CONSUMER_CAUSES:
        if trouble := status.of(cause, consumer):
            return f": {trouble.says}"
    if letters:  # what it could not do then it may be able to do now
        return f": it could not take the event, {_said(letters[-1])}, which waits as a dead letter"
    group = (status.groups or {}).get(consumer)
    if group is not None and group.lag:
        return f": {waiting(status, group)}"
    if (now - since).total_seconds() < _ON_ITS_WAY_S:
        return ": the event is on its way"
    return ": the event was lost, or is being tried again"


def _of(letters: Iterable[Letter], basket: Document) -> list[Letter]:
    """Return those about the latest attempt of a basket: earlier ones are decided, whatever was said of them."""
    effect = f"{basket.get('_id')}", basket.get("attempt")
    return [each for each in letters if each.about is not None and (each.about.basket, each.about.attempt) == effect]


def _said(letter: Letter) -> str:
    return f"{kind_of(letter)[1]} ({letter.kind or 'without a reason'})"


def _next(basket: Document, now: datetime) -> str:
    if "resend_at" not in basket:
        return "nobody asks again"
    left_s = (basket["resend_at"] - now).total_seconds()
    if left_s > 0:
        return f"resend_orders asks again in {lasting(left_s)}"
    if left_s > -_LATE_S:
        return "resend_orders asks again within a minute"
    return f"resend_orders should have asked again {lasting(-left_s)} ago: it does not run, or cannot emit"


def lasting(seconds: float) -> str:
    """Say how long something lasts, as people say it."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f} s"
    for limit, unit_s, unit in ((120, 1, "s"), (7200, 60, "minutes"), (172_800, 3600, "hours")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
