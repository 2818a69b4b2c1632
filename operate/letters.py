"""Dead letters: events with what became of them beside their attributes, and the marks that we add to them.

A topic cannot be edited, so a mark is the letter once more, with an extension: `replaycount` for how often it has been
redriven, `replaylater` for how many of these times the consumer was unwell rather than refusing it, `parked` for why it
is to rest. All records of one event and one consumer are one letter. So every operator, on every machine, sees the
same, and a letter and its marks end together when the topic's retention passes.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from bson import ObjectId
from confluent_kafka import Message

from operate import epochs
from operate.audit import tells_of
from operate.databases import Databases, Document
from operate.epochs import Epoch
from operate.payments import Payment, payment
from operate.places import DEAD_LETTERS, KNOWN, Places
from operate.topics import Topics
from shop.messages import event_id, other_term, terms
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from wire.delivery import is_retried
from wire.event import Event, NotAnEventError
from wire.recording import recorded

STATES: Final = ("waiting", "healed", "parked", "outdated")
"""Outdated is what was emitted before the databases were restored: its consumer refuses it, whoever sends it."""

_AT_ONCE: Final = 500  # ids in one query
_ERROR: Final = re.compile(r"([a-z]+(?:_[a-z]+)+): ")  # any code, those of newer functions too
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
    """The text it answered; if there was none, that there was none."""

    about: Payment | None
    """What the data say, when they can be read."""

    replays: int
    """How often it was redriven, or was about to be: counted before it is sent."""

    later: int
    """How many of these times it was answered "later", or not at all."""

    parked: str
    """Why it is not to be redriven any more; empty otherwise."""

    at: datetime
    """When it was last sent to the dead letters."""

    times: int = 1
    """How often it was."""

    healed: bool = False
    """Whether the event's effect is there by now, as the database of its consumer says."""

    first: datetime | None = None
    """When it was sent there first, when that was not the last time."""

    restored: Epoch | None = None
    """The epoch of that database, when the event is of an older one; None otherwise."""

    @classmethod
    def of(cls, event: Event, places: Places, at: datetime) -> "Letter":
        """Read a dead letter."""
        destination = event.text("knativeerrordest")
        consumer = places.consumer_at(destination)
        replays, later = event.text("replaycount"), event.text("replaylater")
        return cls(
            event=event,
            consumer=consumer or destination or "unknown",
            known=consumer is not None,
            code=event.text("knativeerrorcode"),
            reason=_decoded(event.text("knativeerrordata")) or _without_words(event.text("knativeerrorcode")),
            about=payment(event),
            replays=int(replays) if replays.isdecimal() else 0,
            later=int(later) if later.isdecimal() else 0,
            parked=event.text("parked"),
            at=at,
            times=0 if replays else 1,
        )

    def with_mark(self, later: "Letter") -> "Letter":
        """Return what a later record of the same letter makes of it. Marks stay, whatever comes after them."""
        return replace(
            later,
            at=later.at if later.times else self.at,
            times=self.times + later.times,
            first=self.first or self.at,
            replays=max(self.replays, later.replays),
            later=max(self.later, later.later),
            parked=later.parked or self.parked,
        )

    def unparked(self) -> "Letter":
        """Return it with its count begun anew, if it is parked."""
        return replace(self, parked="", replays=0, later=0) if self.parked else self

    @property
    def refusals(self) -> int:
        """How often it was refused when it was redriven; a time of which nobody knows how it ended counts as one."""
        return self.replays - self.later

    @property
    def state(self) -> str:
        """Return one of STATES."""
        if self.healed:
            return "healed"
        if self.parked:
            return "parked"
        return "outdated" if self.restored else "waiting"

    @property
    def refused(self) -> bool:
        """Whether the consumer will never take it, as it said; otherwise retries were given up."""
        return self.code.isdecimal() and not is_retried(int(self.code))

    @property
    def waiting(self) -> bool:
        """Whether it is for somebody to care for."""
        return self.state == "waiting"

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two letters the same one: the consumer and the event, content included.

        A forged event may have the id of an honest one, and must not be taken for it.
        """
        return self.consumer, *(self.event.text(name) for name in ("source", "id", "type")), self.event.data

    @property
    def error(self) -> str:
        """Return the code that the reason begins with; empty for one that has none."""
        found = _ERROR.match(self.reason)
        return found[1] if found else ""

    @property
    def kind(self) -> str:
        """Return the reason without its code and what differs from letter to letter: ids, numbers, quoted values."""
        return _VARYING.sub("…", self.reason.removeprefix(f"{self.error}: "))

    @property
    def place(self) -> str:
        """Return partition and offset in the dead letters: what `orders dlq show` takes."""
        return f"{self.event.text('knativekafkapartition')}/{self.event.text('knativekafkaoffset')}"


FIELDS: Final[Mapping[str, Callable[[Letter], str]]] = {
    "consumer": lambda letter: letter.consumer,
    "code": lambda letter: letter.code,
    "error": lambda letter: letter.error,
    "reason": lambda letter: letter.reason,
    "id": lambda letter: letter.event.text("id"),
    "type": lambda letter: letter.event.text("type"),
    "user": lambda letter: letter.about.user if letter.about else "",
    "basket": lambda letter: letter.about.basket if letter.about else "",
}
"""What letters can be chosen by."""

_COORDINATES: Final = ("knativekafkapartition", "knativekafkaoffset", "kafkatopic", "kafkakey")
_FAILURE: Final = ("knativeerrordest", "knativeerrorcode", "knativeerrordata")


def to_redrive(letter: Letter) -> Event:
    """Return the event as its consumer gets it again: without what became of it, with how often it was redriven."""
    kept = _without(letter.event, *_COORDINATES, *_FAILURE, "parked", "replaylater")
    return kept.with_attributes(replaycount=str(letter.replays))


def mark(letter: Letter, *, code: str = "", reason: str = "", parked: str = "") -> Event:
    """Return the record that notes replays, a new reason, or that the letter is parked."""
    news = {"replaycount": str(letter.replays), "replaylater": str(letter.later)}
    if code:
        news |= {"knativeerrorcode": code, "knativeerrordata": base64.b64encode(reason.encode()[:1024]).decode()}
    if parked:
        news |= {"parked": parked}
    return _without(letter.event, *_COORDINATES).with_attributes(**news)


def _without(event: Event, *names: str) -> Event:
    return Event({name: value for name, value in event.attributes.items() if name not in names}, event.data)


def read(topics: Topics, places: Places, since_ms: int | None = None) -> list[Letter]:
    """Return the dead letters that the topic holds, in the order in which they first came."""
    return _folded(topics.read([DEAD_LETTERS], since_ms), places)


def latest(topics: Topics, places: Places, records: int) -> tuple[list[Letter], bool]:
    """Return the dead letters of the latest records, and whether these are all that the topic holds."""
    partitions: Counter[int | None] = Counter()

    def counted() -> Iterator[Message]:
        for message in topics.read([DEAD_LETTERS], last=records):
            partitions[message.partition()] += 1
            yield message

    found = _folded(counted(), places)
    return found, max(partitions.values(), default=0) < records


def _folded(messages: Iterable[Message], places: Places) -> list[Letter]:
    found: dict[tuple[object, ...], Letter] = {}
    for message in messages:
        try:
            event = recorded(message)
        except NotAnEventError:
            continue  # nobody can redrive it
        letter = Letter.of(event, places, moment(message))
        known = found.get(letter.key)
        found[letter.key] = letter if known is None else known.with_mark(letter)
    return list(found.values())


def moment(message: Message) -> datetime:
    """Return when Kafka got a record."""
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


# --- what has become of them -----------------------------------------------------------------------------------------


def judged(letters: Iterable[Letter], databases: Databases) -> Iterator[Letter]:
    """Compare letters, some hundreds at once, with what the database of the consumer that refused each says by now."""
    known, waiting = epochs.read(databases), list(letters)
    for start in range(0, len(waiting), _AT_ONCE):
        batch = waiting[start : start + _AT_ONCE]
        stored = _Stored(databases, [letter.about for letter in batch if letter.about is not None])
        for letter in batch:
            epoch = known[KNOWN[letter.consumer].service] if letter.known else Epoch()
            is_older = letter.about is not None and letter.about.epoch < epoch.number
            yield replace(letter, healed=_is_healed(letter, stored), restored=epoch if is_older else None)


class _Stored:
    """What the three databases hold of what letters are about."""

    def __init__(self, databases: Databases, about: Sequence[Payment]) -> None:
        users = list({each.user for each in about})
        ids = [ObjectId(each.basket) for each in about if ObjectId.is_valid(each.basket)]
        self._decisions: dict[tuple[str, str], Document] = {}
        for account in databases.collection("billing", "users").find({"_id": {"$in": users}}):
            for entry in (account.get("declined"), *account.get("paid_baskets", ())):  # a charge comes before a decline
                if entry is not None:
                    self._decisions[account["_id"], str(entry["basket"])] = entry
        archived = {"user": {"$in": users}, "basket": {"$in": ids}}
        for entry in databases.collection("billing", "paid_baskets").find(archived):
            self._decisions[entry["user"], str(entry["basket"])] = entry
        self._baskets = _by_id(databases, "orders", "baskets", ids)
        self._notifications = _by_id(databases, "notify", "notifications", [event_id(each) for each in about])

    def decision(self, about: Payment) -> Document | None:
        """Return billing's latest decision about the event's basket."""
        return self._decisions.get((about.user, about.basket))

    def basket(self, about: Payment) -> Document | None:
        """Return the event's basket, if it is its user's."""
        found = self._baskets.get(about.basket)
        return found if found is not None and found["user"] == about.user else None

    def notification(self, about: Payment) -> Document | None:
        """Return the notification of the event's attempt."""
        return self._notifications.get(event_id(about))


def _by_id(databases: Databases, service: str, name: str, ids: Sequence[object]) -> dict[str, Document]:
    return {str(each["_id"]): each for each in databases.collection(service, name).find({"_id": {"$in": ids}})}


def _is_healed(letter: Letter, stored: _Stored) -> bool:
    """Whether the consumer has taken the event since, or has what makes it old. A contradiction never heals."""
    match letter.consumer, letter.about:
        case "billing-handler", PaymentRequested() as requested:
            return _is_decided(requested, stored.decision(requested))
        case "order-handler", PaymentDecided() as decided:
            return _is_settled(decided, stored.basket(decided))
        case "notify-handler", PaymentDecided() as decided:
            notification = stored.notification(decided)
            return notification is not None and tells_of(notification, decided)
    return False


def _is_decided(requested: PaymentRequested, decision: Document | None) -> bool:
    """Compare a request with billing's decision: the first case that fits."""
    if decision is None or requested.attempt > decision["attempt"]:
        return False
    if requested.attempt < decision["attempt"]:
        # Asked for after a restore, decided before it: then orders is older than billing, and billing refuses.
        return bool(requested.epoch <= decision.get("epoch", 0))
    return bool(requested.number == decision["number"]) and other_term(terms(requested), decision) is None


def _is_settled(decided: PaymentDecided, basket: Document | None) -> bool:
    """Compare a decision with the basket: the first case that fits."""
    if basket is None or decided.attempt > basket["attempt"]:
        return False
    if decided.attempt < basket["attempt"]:
        return True
    if other_term(terms(decided), basket) is not None:
        return False
    # An outcome of a newer version, which this one does not know, is settled by none of ours.
    return bool(basket["status"] == {PAID: "paid", DECLINED: "open"}.get(decided.outcome))


def _without_words(code: str) -> str:
    """Say what is known of a failure that left no text: what stands between answered, or nobody did in time."""
    return f"answered {code} without a text" if code else "no answer"


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode(errors="replace")
    except binascii.Error:
        return data
