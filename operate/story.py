"""What the databases and the topics hold of one basket, as moments in time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from confluent_kafka import Message

from operate import letters
from operate.databases import Databases, Document
from operate.payments import payment
from operate.places import DEAD_LETTERS, Places
from operate.topics import Topics
from shop.messages import TOPICS, rfc3339
from shop.schema.events_pb2 import Outcome, PaymentDecided
from wire.event import Event, NotAnEventError
from wire.recording import recorded


@dataclass(frozen=True)
class Moment:
    """Something that happened, and where that is known from."""

    at: datetime
    where: str
    what: str
    event: Event | None = field(default=None, compare=False)
    """The event that a topic holds of it."""

    @property
    def time(self) -> str:
        """Return when, to the millisecond, in UTC."""
        return f"{self.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{self.at.microsecond // 1000:03}"

    def as_json(self) -> dict[str, str]:
        """Return it for JSON."""
        return {"at": rfc3339(self.at), "where": self.where, "what": self.what}


def of_databases(databases: Databases, basket: ObjectId) -> list[Moment]:
    """Return what the three databases hold."""
    moments: list[Moment] = []
    stored = databases.collection("orders", "baskets").find_one({"_id": basket})
    if stored is not None:
        moments += of_basket(stored)
        moments += _of_account(databases, stored["user"], basket)
    # `.` and `/` are neighbours: this is a prefix, by the index of _id.
    key = {"_id": {"$gte": f"{basket}.", "$lt": f"{basket}/"}}
    for notification in databases.collection("notify", "notifications").find(key):
        outcome = _with_reason(notification["outcome"], notification["reason"])
        what = f"attempt {notification['attempt']} notified: {outcome}, sum {notification['sum']}"
        moments.append(Moment(notification["recorded_at"], "notify", what))
    return moments


def of_basket(stored: Document) -> Iterator[Moment]:
    """Return what orders knows of a basket: each attempt's times and outcome."""
    made = f"basket {stored['number']} of {stored['user']} made"
    yield Moment(stored["_id"].generation_time, "orders", made)
    for decline in stored.get("declines", []):
        yield from _of_attempt(decline, "open")
        if (
            "settled_at" in decline
        ):  # billing remembers the latest decline alone; orders has when the others were decided
            decided = f"attempt {decline['attempt']} decided: {_with_reason('declined', decline.get('reason', ''))}"
            yield Moment(decline["decided_at"], "orders", decided)
    yield from _of_attempt(stored, stored["status"])


def _of_attempt(of: Document, status: str) -> Iterator[Moment]:
    """Yield when an attempt was ordered and settled. What 67d5614 settled has only when billing decided it."""
    if "ordered_at" in of:
        yield Moment(of["ordered_at"], "orders", f"attempt {of['attempt']} ordered, sum {of['sum']}")
    if (at := of.get("settled_at", of.get("decided_at"))) is not None:
        settled = _with_reason("open again", of["reason"]) if "reason" in of else status
        yield Moment(at, "orders", f"attempt {of['attempt']} settled: {settled}")


def _of_account(databases: Databases, user: str, basket: ObjectId) -> Iterator[Moment]:
    account: Document = databases.collection("billing", "users").find_one({"_id": user}) or {}
    archived = databases.collection("billing", "paid_baskets").find({"user": user, "basket": basket})
    for where, entries in (("billing", account.get("paid_baskets", [])), ("billing archive", archived)):
        for paid in entries:
            if paid["basket"] == basket:
                yield Moment(paid["paid_at"], where, f"attempt {paid['attempt']} charged, sum {paid['sum']}")
    declined = account.get("declined")
    if declined is not None and declined["basket"] == basket:
        outcome = _with_reason("declined", declined["reason"])
        yield Moment(declined["decided_at"], "billing", f"attempt {declined['attempt']} {outcome}")


def _with_reason(outcome: str, reason: str) -> str:
    return f"{outcome} ({reason})" if reason else outcome


def of_topics(
    topics: Topics, places: Places, basket: str, since_ms: int | None, *, last: int | None = None
) -> Iterator[Moment]:
    """Yield what the topics still hold: each emission, and each dead letter with its reason.

    Of each partition only the `last` so many records are looked at, if that is given.
    """
    for message in topics.read([*dict.fromkeys(TOPICS.values()), DEAD_LETTERS], since_ms, last=last):
        if _mentions(message, basket.encode()):
            yield Moment(
                letters.moment(message),
                f"{message.topic()} {message.partition()}/{message.offset()}",
                said(message, places),
                _event(message),
            )


def _event(message: Message) -> Event | None:
    try:
        return recorded(message)
    except NotAnEventError:
        return None


def _mentions(message: Message, basket: bytes) -> bool:
    """Whether a record is about the basket, without reading all of it: most are not."""
    pairs: Any = message.headers() or []
    return basket in (message.value() or b"") or any(basket in (value or b"") for _, value in pairs)


def said(message: Message, places: Places) -> str:
    """Say in words what a record tells."""
    try:
        event = recorded(message)
    except NotAnEventError as error:
        return f"no CloudEvent: {error}"
    about = payment(event)
    if about is None:
        words = f"{event.text('type')} {event.text('id')}"
    else:
        words = f"{about.DESCRIPTOR.name} attempt {about.attempt}, sum {about.sum}"
        if isinstance(about, PaymentDecided):
            words += f": {_with_reason(_outcome(about.outcome), about.reason)}"
        if about.epoch:
            words += f", epoch {about.epoch}"
    if message.topic() == DEAD_LETTERS:
        letter = letters.Letter.of(event, places, letters.moment(message))
        words += f"; dead letter of {letter.consumer}: {f'{letter.code} {letter.reason}'.strip()}"
    return words


def _outcome(number: int) -> str:
    """Name an outcome; one that only a newer version knows is its number."""
    return Outcome.Name(Outcome.ValueType(number)).lower() if number in Outcome.values() else f"outcome {number}"
