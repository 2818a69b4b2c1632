"""Dead letters: events with what became of them beside their attributes, and the marks that we add to them.

A topic cannot be edited, so a mark is the letter once more, with an extension: `replaycount` for how often it has been
redriven, `parked` for why it is to rest. All records of one event and one consumer are one letter. So every operator,
on every machine, sees the same, and a letter and its marks end together when the topic's retention passes.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from bson import ObjectId
from confluent_kafka import Message

from cli import topics
from cli.databases import Databases, Document
from cli.events import Payment, attribute, payment, recorded
from cli.places import Places
from local.cloudevents import Event, NotAnEventError
from shop.messages import event_id
from shop.schema.events_pb2 import PAID, PaymentDecided

TOPIC: Final = "dead-letters"
_AT_ONCE: Final = 500  # ids in one query
_VARYING: Final = re.compile(r"\b[0-9a-f]{24}\b|\d+|'[^']*'")


@dataclass(frozen=True)
class Letter:
    """An event that a consumer did not take."""

    event: Event
    consumer: str
    """The function that failed; its URL when it is none that we know."""

    known: bool
    """Whether the consumer is one that we know where to find."""

    code: str
    """The status it answered; empty when it did not answer."""

    reason: str
    """The text it answered."""

    about: Payment | None
    """What the data say, when they can be read."""

    replays: int
    """How often it was redriven."""

    parked: str
    """Why it is not to be redriven any more; empty otherwise."""

    at: datetime
    """When it was last sent to the dead letters."""

    times: int = 1
    """How often it was."""

    healed: bool = False
    """Whether the event's effect is there by now: resend has asked again, or the letter was redriven."""

    @classmethod
    def of(cls, event: Event, places: Places, at: datetime) -> "Letter":
        """Read a dead letter."""
        destination = attribute(event, "knativeerrordest")
        consumer = places.consumer_at(destination)
        replays = attribute(event, "replaycount")
        return cls(
            event=event,
            consumer=consumer or destination or "unknown",
            known=consumer is not None,
            code=attribute(event, "knativeerrorcode"),
            reason=_decoded(attribute(event, "knativeerrordata")),
            about=payment(event),
            replays=int(replays) if replays.isdecimal() else 0,
            parked=attribute(event, "parked"),
            at=at,
            times=0 if replays else 1,
        )

    def with_mark(self, later: "Letter") -> "Letter":
        """Return what a later record of the same letter makes of it. Marks stay, whatever comes after them."""
        return replace(
            later,
            at=later.at if later.times else self.at,
            times=self.times + later.times,
            replays=max(self.replays, later.replays),
            parked=later.parked or self.parked,
        )

    @property
    def waiting(self) -> bool:
        """Whether it is for somebody to care for."""
        return not self.healed and not self.parked

    @property
    def state(self) -> str:
        """Return healed, parked or waiting."""
        return "healed" if self.healed else "parked" if self.parked else "waiting"

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two letters the same one: the consumer and the event, content included.

        A forged event may have the id of an honest one, and must not be taken for it.
        """
        return self.consumer, *(attribute(self.event, name) for name in ("source", "id", "type")), self.event.data

    @property
    def kind(self) -> str:
        """Return the reason without what differs from letter to letter: ids, numbers and quoted values."""
        return _VARYING.sub("…", self.reason)

    @property
    def place(self) -> str:
        """Return partition and offset in the dead letters: what `orders dlq show` takes."""
        return f"{attribute(self.event, 'knativekafkapartition')}/{attribute(self.event, 'knativekafkaoffset')}"


_COORDINATES: Final = ("knativekafkapartition", "knativekafkaoffset", "kafkatopic", "kafkakey")
_FAILURE: Final = ("knativeerrordest", "knativeerrorcode", "knativeerrordata")


def to_redrive(letter: Letter) -> Event:
    """Return the event as its consumer gets it again: without what became of it, with how often it was redriven."""
    kept = _without(letter.event, *_COORDINATES, *_FAILURE, "parked")
    return kept.with_attributes(replaycount=str(letter.replays))


def mark(letter: Letter, *, code: str = "", reason: str = "", parked: str = "") -> Event:
    """Return the record that notes replays, a new reason, or that the letter is parked."""
    news = {"replaycount": str(letter.replays)}
    if code:
        news |= {"knativeerrorcode": code, "knativeerrordata": base64.b64encode(reason.encode()[:1024]).decode()}
    if parked:
        news |= {"parked": parked}
    return _without(letter.event, *_COORDINATES).with_attributes(**news)


def _without(event: Event, *names: str) -> Event:
    return Event({name: value for name, value in event.attributes.items() if name not in names}, event.data)


def read(places: Places, since_ms: int | None = None) -> list[Letter]:
    """Return the dead letters that the topic holds, in the order in which they first came, and which have healed."""
    found: dict[tuple[object, ...], Letter] = {}
    for message in topics.read(places.kafka, [TOPIC], since_ms):
        try:
            event = recorded(message)
        except NotAnEventError:
            continue  # nobody can redrive it
        letter = Letter.of(event, places, moment(message))
        known = found.get(letter.key)
        found[letter.key] = letter if known is None else known.with_mark(letter)
    with Databases(places) as databases:
        return list(_healed(found.values(), databases))


def moment(message: Message) -> datetime:
    """Return when Kafka got a record."""
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def _healed(letters: Iterable[Letter], databases: Databases) -> Iterable[Letter]:
    """Compare letters with what the databases say by now, some hundreds at once."""
    waiting = list(letters)
    for start in range(0, len(waiting), _AT_ONCE):
        batch = waiting[start : start + _AT_ONCE]
        about = [letter.about for letter in batch if letter.about is not None]
        ids = [ObjectId(each.basket) for each in about if ObjectId.is_valid(each.basket)]
        baskets = _by_id(databases, "orders", "baskets", ids)
        notifications = _by_id(databases, "notify", "notifications", [event_id(each) for each in about])
        for letter in batch:
            yield replace(letter, healed=_is_healed(letter, baskets, notifications))


def _by_id(databases: Databases, service: str, name: str, ids: Sequence[object]) -> dict[str, Document]:
    return {str(each["_id"]): each for each in databases.collection(service, name).find({"_id": {"$in": ids}})}


def _is_healed(letter: Letter, baskets: dict[str, Document], notifications: dict[str, Document]) -> bool:
    """Whether the event's effect is there, with the event's content: a contradiction never heals."""
    about = letter.about
    if about is None:
        return False
    outcome = about.outcome if isinstance(about, PaymentDecided) else None
    if letter.consumer == "notify-handler":
        stored = notifications.get(event_id(about))
        return stored is not None and (stored["user"], stored["sum"], stored["outcome"] == "paid") == (
            about.user,
            about.sum,
            outcome == PAID,
        )
    basket = baskets.get(about.basket)
    if basket is None or basket["user"] != about.user or basket["attempt"] < about.attempt:
        return False
    if basket["attempt"] > about.attempt:
        return True
    settled_so = basket["status"] == ("paid" if outcome == PAID else "open") if outcome else True
    return basket["status"] != "ordered" and basket["sum"] == about.sum and settled_so


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode(errors="replace")
    except binascii.Error:
        return data
