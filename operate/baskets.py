"""List baskets by what became of them, page by page: each page goes by an index, however many there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bson import ObjectId

from operate.databases import Databases, Document
from operate.status import LONG
from shop.state import BASKETS, OPEN, ORDERED, ORDERS, PAID_STATUS

PAGE: Final = 50

LISTS: Final = {
    "stuck": "undecided for longer than a minute, the oldest first",
    "undecided": "ordered, and neither paid nor declined, the oldest first",
    "declined": "declined, and not ordered again, the latest first",
    "paid": "paid, the latest first",
}
"""Every list, and what is in it."""

_STATUS: Final = {"stuck": ORDERED, "undecided": ORDERED, "declined": OPEN, "paid": PAID_STATUS}
_INDEX: Final = [("status", 1), ("ordered_at", 1), ("_id", 1)]
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Page:
    """Some baskets of a list."""

    baskets: Sequence[Document]
    after: str
    """What leads to the next page; empty on the last one."""


def page(databases: Databases, which: str, after: str = "") -> Page:
    """Return a page of a list. An `after` that is none is that of the first page."""
    status, latest_first = _STATUS[which], which in ("declined", "paid")
    ordered_at: dict[str, datetime] = {}
    if which == "stuck":
        ordered_at["$lte"] = databases.now() - LONG
    if which == "declined":
        ordered_at["$gte"] = _BEGINNING  # what was never ordered is no decline
    query: dict[str, Any] = {"status": status}
    if (anchor := _anchor(after)) is not None:
        # From where the page before ended; of what was ordered in the same millisecond, the rest.
        time, id_ = anchor
        ordered_at["$lte" if latest_first else "$gte"] = time
        query["$nor"] = [{"ordered_at": time, "_id": {"$gte" if latest_first else "$lte": id_}}]
    if ordered_at:
        query["ordered_at"] = ordered_at
    direction = -1 if latest_first else 1
    found = databases.collection(ORDERS, BASKETS).find(query).hint(_INDEX).limit(PAGE + 1)
    baskets = list(found.sort([("ordered_at", direction), ("_id", direction)]))
    shown = baskets[:PAGE]
    return Page(shown, _after(shown[-1]) if len(baskets) > PAGE else "")


def of_trace(databases: Databases, trace: str) -> list[Document]:
    """Return the baskets that were ordered in a trace, in their latest attempt or an earlier one.

    The trace is 32 lowercase hex digits; several baskets have it when their client sent it with each order.
    """
    # A pattern and no range: of an array, an index takes one end of a range alone.
    ordered_in_it = {"$regex": f"^00-{trace}-"}
    query = {"$or": [{"traceparent": ordered_in_it}, {"declines.traceparent": ordered_in_it}]}
    return list(databases.collection(ORDERS, BASKETS).find(query).limit(PAGE))


def of_customer(databases: Databases, user: str) -> list[Document]:
    """Return a customer's latest baskets."""
    return list(databases.collection(ORDERS, BASKETS).find({"user": user}).sort("number", -1).limit(PAGE))


def _after(basket: Document) -> str:
    return f"{(basket['ordered_at'] - _BEGINNING) // timedelta(milliseconds=1)}.{basket['_id']}"


def _anchor(after: str) -> tuple[datetime, ObjectId] | None:
    time_ms, _, id_ = after.partition(".")
    if not (time_ms.isascii() and time_ms.isdecimal() and len(time_ms) < 15 and ObjectId.is_valid(id_)):
        return None
    return _BEGINNING + timedelta(milliseconds=int(time_ms)), ObjectId(id_)
