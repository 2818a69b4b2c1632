"""Record, and so "send", one notification per decision, and list them.

Promise: a decision delivered again finds its notification there; one with other content is refused, never recorded
twice.

State: `notify.notifications`, one document per basket and attempt.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter

from bson import Int64, ObjectId
from pymongo import DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError

from shop.errors import Code, Contradiction, Impossible, Unavailable
from shop.messages import TERMS, event_id, from_document, rfc3339, terms, to_datetime
from shop.schema.events_pb2 import PAID, PaymentDecided
from shop.schema.notify_pb2 import ListRequest, ListResponse, Notification
from shop.state import DECLINED_OUTCOME, NOTIFICATIONS, NOTIFY, PAID_OUTCOME, kept
from shop.store import change, client, shared
from shop.store.client import Document
from shop.store.pipeline import NOW, Pipeline, literal

SERVICE = NOTIFY

PAGE = 100
"""Notifications in a page when the request names no limit."""


def _notifications() -> AsyncCollection[Document]:
    return client.collection(SERVICE, NOTIFICATIONS)


_RACES = 10
"""How often a notification may be another one when it is looked at again: only while a primary is being replaced."""


async def record(decided: PaymentDecided) -> str:
    """Record the notification of a decision, once.

    Returns what happened, for the log: `paid`, `declined`, or `replayed` (it was recorded before).

    One upsert on exactly the key and its user, changing nothing when it is there: an insert that ignores its duplicate
    would not wait until the one it met is durable.

    Raises Contradiction when the same basket and attempt was notified with other content, and that is the latest state.
    """
    key = event_id(decided)
    content = {
        "user": decided.user,
        "basket": ObjectId(decided.basket),
        "attempt": Int64(decided.attempt),
        **kept(terms(decided)),
        "outcome": PAID_OUTCOME if decided.outcome == PAID else DECLINED_OUTCOME,
        "reason": decided.reason,
        "decided_at": to_datetime(decided.decided_at),
    }
    seen = await shared.apply(_notifications(), _statement(key, content))
    if seen is not None and (seen.changed or _differs(seen.document or {}, content) is None):
        return str(content["outcome"]) if seen.first else "replayed"
    for _ in range(_RACES):
        stored = await _recorded(key, content)
        if stored is None:
            continue
        if (field := _differs(stored, content)) is None:
            return "replayed"
        if await change.is_latest(_notifications(), {"_id": key, "user": stored["user"]}, stored):
            raise Contradiction(
                Code.OTHER_CONTENT, f"{key} was notified with {field} {stored.get(field)}, not {content.get(field)}"
            )
    raise Unavailable(Code.TOO_MANY_UPDATES, "too many concurrent updates; try again")


def _differs(stored: Document, content: Document) -> str | None:
    """Return a field in which a notification differs from this content; None when there is none."""
    fields = dict.fromkeys([*content, *TERMS])
    return next((field for field in fields if stored.get(field) != content.get(field)), None)


def _statement(key: str, content: Document) -> shared.Statement:
    its_key = {"_id": key, "user": content["user"]}
    change = _record_it(key, content)
    return shared.Statement(its_key, change, upsert=True, only_unchanged=True, done_at=itemgetter("recorded_at"))


async def _recorded(key: str, content: Document) -> Document | None:
    """Return the notification with this key after recording it, if it was not there; None: it came or went meanwhile.

    A sharded collection takes an upsert only with the user in its key. Without the user only the look is, at what an
    upsert met: a delivery of the same event that was faster, or the notification of another user.
    """
    try:
        return await change.upsert(_notifications(), {"_id": key, "user": content["user"]}, _record_it(key, content))
    except DuplicateKeyError:
        return await client.latest(_notifications()).find_one({"_id": key})


def _record_it(key: str, content: Document) -> Pipeline:
    """When there is none yet: this content, recorded now. Else change nothing."""
    is_new = {"$eq": [{"$type": "$recorded_at"}, "missing"]}
    notification = {"_id": key, **{field: literal(value) for field, value in content.items()}, "recorded_at": NOW}
    return [{"$replaceWith": {"$cond": [is_new, notification, "$$ROOT"]}}]


@dataclass(frozen=True)
class Page:
    """Notifications, oldest first, and the cursor to the page of older ones (None: there are none)."""

    notifications: list[Document]
    older: str | None


async def show(request: ListRequest) -> ListResponse:
    """Show a page of notifications, as the request asks. Raises Impossible for a cursor that no page gave."""
    page = await latest(
        user=request.user if request.HasField("user") else None,
        limit=request.limit if request.HasField("limit") else PAGE,
        before=request.before if request.HasField("before") else None,
    )
    log = [line(notification) for notification in page.notifications]
    return ListResponse(
        status=True,
        message="\n".join(log),
        log=log,
        notifications=[from_document(Notification, each, id=each["_id"]) for each in page.notifications],
        next=page.older,
    )


async def latest(user: str | None, limit: int = PAGE, before: str | None = None) -> Page:
    """Return the latest notifications, of one user or of all, before a cursor if one is given.

    Raises Impossible for a cursor that no page gave.
    """
    query: Document = {} if user is None else {"user": user}
    if before is not None:
        recorded_at, key = _read_cursor(before)
        query["$or"] = [{"recorded_at": {"$lt": recorded_at}}, {"recorded_at": recorded_at, "_id": {"$lt": key}}]
    newest_first = _notifications().find(
        query, sort=[("recorded_at", DESCENDING), ("_id", DESCENDING)], limit=limit + 1
    )
    found = await newest_first.to_list()
    page = found[:limit][::-1]
    return Page(notifications=page, older=_cursor(page[0]) if len(found) > limit else None)


def line(notification: Document) -> str:
    """Return the notification as the line of the log that the older shop printed."""
    return f"user {notification['user']} result {str(notification['outcome'] == PAID_OUTCOME).lower()}"


_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z)_([0-9a-f]{24}\.\d{1,19})")


def _cursor(notification: Document) -> str:
    return f"{rfc3339(notification['recorded_at'])}_{notification['_id']}"


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    match = _CURSOR.fullmatch(cursor)
    try:
        if match is not None:
            return datetime.fromisoformat(match[1]).astimezone(UTC), match[2]
    except ValueError:  # digits that are no date
        pass
    raise Impossible(Code.IMPOSSIBLE_VALUE, "before must be the `next` of a page of GET /List")
