"""See at a glance whether orders get through, and if not, why: the one place that looks at the shop's state as a whole.

Promises: what is wrong has a cause in words, the deepest one first. A part that is away is such a cause, and never
keeps the others from being looked at. One look takes less than a second while all parts answer, however many baskets
there are, for it goes by indexes alone.
"""

import http.client
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from pymongo.errors import OperationFailure, PyMongoError

from operate import actions, epochs, letters
from operate.actions import Action
from operate.databases import Databases, Document
from operate.errors import NotReachable, WrongUse
from operate.groups import Group, Groups
from operate.letters import Letter
from operate.places import CONSUMERS, Places
from operate.topics import Topics
from operate.urls import PORTS
from shop.messages import rfc3339
from shop.state import (
    BASKETS,
    DECLINED_OUTCOME,
    INSUFFICIENT_FUNDS,
    NOTIFICATIONS,
    NOTIFY,
    OPEN,
    ORDERED,
    ORDERS,
    PAID_OUTCOME,
    PAID_STATUS,
    SERVICES,
    UNKNOWN_USER,
    decline_code,
    of,
)

LONG: Final = timedelta(seconds=60)
"""An order that is undecided for longer is stuck: resend_orders asks for its payment again from then on."""

_BEHIND: Final = timedelta(seconds=45)
"""How old what a group has not acknowledged may be: retries end after 31 s, and offsets are committed each 5 s."""

_OVERDUE: Final = timedelta(seconds=150)
"""How late resend_orders may be: it comes each minute, and one tick may be lost."""

LETTERS: Final = 5_000
"""How many records of the dead letters are looked at, the latest: some hundred milliseconds."""

RECENT: Final = timedelta(minutes=10)
"""How far back decisions are counted."""

DECISIONS: Final = 2_000
"""How many decisions are counted, the latest: enough to tell a share, and some milliseconds."""

_PROBE_S: Final = 0.8
"""How long a consumer may take to say that it is well; a frozen one would take for ever."""

CAUSES: Final[Mapping[str, str]] = {
    "mongodb_away": "MongoDB does not answer: start it, or correct its address; nothing is lost meanwhile",
    "not_set_up": "run python -m shop.setup, or correct the name of the database",
    "epochs_differ": "after a restore run python -m shop.setup --restored",
    "kafka_away": "start Kafka, or correct its address; ordered baskets are asked for again once it is back",
    "no_member": "see why its KafkaSource is absent or not ready: kubectl get kafkasource",
    "no_answer": "restart the function; its log says what it did last",
    "not_ready": "correct the function's database, or run python -m shop.setup",
    "behind": "see the function's log; when it is only slow, let it have more processes",
    "dead_letters": "read the reason, correct what it names, then redrive: orders dlq list",
    "resend_late": "see whether the PingSource is there, and the log of resend_orders",
    "undecided": "look at one of the orders: orders event show",
    "verify_failed": "orders verify lists each problem with what can be done",
}
"""What may be wrong, the deepest first, and what to do."""


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong."""

    cause: str
    """One of CAUSES."""

    about: str
    """The function or the service; empty for all."""

    says: str

    @property
    def remedy(self) -> str:
        """Return what to do."""
        return CAUSES[self.cause]

    def as_json(self) -> dict[str, str | None]:
        """Return it for JSON."""
        return {"cause": self.cause, "about": self.about or None, "says": self.says, "remedy": self.remedy}


@dataclass(frozen=True)
class Orders:
    """What MongoDB knows of all orders."""

    now: datetime
    """By the clock of the `orders` database, which orders and resends go by."""

    baskets: Mapping[str, int]
    """How many are in each status; what is paid is estimated from the others."""

    oldest: datetime | None
    """When the oldest undecided order was placed."""

    stuck: int
    """How many are undecided for longer than LONG: resend_orders asks for their payment again."""

    overdue: int
    """How many of them it should have asked for long ago."""

    verified: Action | None
    """The last verification of everybody."""

    @property
    def undecided(self) -> int:
        """Return how many are ordered and neither paid nor declined."""
        return self.baskets[ORDERED]

    @property
    def oldest_s(self) -> float:
        """Return the age of the oldest undecided order; 0 when there is none."""
        return 0.0 if self.oldest is None else max(0.0, (self.now - self.oldest).total_seconds())


@dataclass(frozen=True)
class Status:
    """What one look has found; None is what could not be looked at."""

    at: datetime
    orders: Orders | None = None
    groups: Mapping[str, Group] | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with each consumer that was asked whether it is well; empty for one that is."""

    letters: Sequence[Letter] | None = None
    """The dead letters that wait for somebody."""

    are_all: bool = True
    """Whether these are all that wait: only the latest records are looked at."""

    decided: Mapping[tuple[str, str], int] | None = None
    """How many of the latest DECISIONS within RECENT had each outcome, with its decline code: empty for paid."""

    troubles: Sequence[Trouble] = ()
    """What is wrong, the deepest cause first."""

    seconds: float = 0.0

    @property
    def waiting(self) -> Counter[tuple[str, str]]:
        """Return how many dead letters wait, by function and code."""
        return Counter(map(kind_of, self.letters or ()))

    def lag_s(self, group: Group) -> float:
        """Return for how long the oldest record of a group has been waiting."""
        return 0.0 if group.oldest is None else max(0.0, (self.at - group.oldest).total_seconds())

    def of(self, cause: str, about: str = "") -> Trouble | None:
        """Return what is wrong with somebody for a cause; None when nothing is."""
        return next((each for each in self.troubles if (each.cause, each.about) == (cause, about)), None)

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        orders, verified = self.orders, self.orders.verified if self.orders else None
        return {
            "at": rfc3339(self.at),
            "fine": not self.troubles,
            "troubles": [trouble.as_json() for trouble in self.troubles],
            "baskets": None if orders is None else dict(orders.baskets),
            "undecided": None if orders is None else orders.undecided,
            "oldest_undecided_s": None if orders is None else round(orders.oldest_s, 1),
            "resent": None if orders is None else orders.stuck,
            "decided": None
            if self.decided is None
            else [
                {"outcome": outcome, "code": code or None, "decisions": n}
                for (outcome, code), n in self.decided.items()
            ],
            "groups": None
            if self.groups is None
            else {
                name: {"lag": group.lag, "lag_s": round(self.lag_s(group), 1), "members": group.members}
                for name, group in self.groups.items()
            },
            "dead_letters_waiting": None
            if self.letters is None
            else [{"function": name, "code": code, "letters": n} for (name, code), n in self.waiting.items()],
            "verified": None if verified is None else verified.as_json(),
            "seconds": round(self.seconds, 3),
        }


def kind_of(letter: Letter) -> tuple[str, str]:
    """Return the function that refused a letter, and the code it gave: its own, else the status, else no answer."""
    return letter.consumer, letter.error or letter.code or "no_answer"


# --- looking ---------------------------------------------------------------------------------------------------------


class Watch:
    """Looks at one shop, again and again; its connections stay open in between."""

    def __init__(self, places: Places, databases: Databases, topics: Topics | None, timeout_s: float) -> None:
        """Take what is opened already. Without topics, Kafka is not looked at."""
        self._places, self._databases, self._topics = places, databases, topics
        self._timeout_s = timeout_s
        self._groups: Groups | None = None

    def look(self) -> Status:
        """Look at all parts at once."""
        begun = datetime.now(UTC)
        with ThreadPoolExecutor(max_workers=5 + len(CONSUMERS)) as pool:
            orders = pool.submit(_try, self._look_at_orders)
            set_up = pool.submit(_try, self._look_at_indexes)
            told = pool.submit(_try, self._look_at_decisions)
            groups = pool.submit(_try, self._look_at_groups)
            found = pool.submit(_try, self._look_at_letters)
            asked = {name: pool.submit(_probe, self._places.functions[name].at) for name in self._probed()}
        answers = {name: answer.result() for name, answer in asked.items()}
        mongodb, missing, decisions, kafka, dead = (each.result() for each in (orders, set_up, told, groups, found))
        status = Status(
            at=begun,
            orders=mongodb.value,
            groups=kafka.value,
            answers=answers,
            letters=None if dead.value is None else dead.value[0],
            are_all=dead.value is None or dead.value[1],
            decided=decisions.value,
        )
        troubles = [
            *_of_mongodb(mongodb.failure or missing.failure or decisions.failure, missing.value or ()),
            *_of_kafka(dead.failure or kafka.failure),
            *of_consumers(status),
            *of_letters(status),
            *of_orders(status),
        ]
        ranks = list(CAUSES)
        troubles.sort(key=lambda trouble: ranks.index(trouble.cause))
        seconds = (datetime.now(UTC) - begun).total_seconds()
        return Status(**{**vars(status), "troubles": tuple(troubles), "seconds": seconds})

    def _probed(self) -> list[str]:
        """Name the consumers that can be asked. They are always there; another function would be started by it."""
        return [name for name in CONSUMERS if name in self._places.functions]

    def _look_at_orders(self) -> Orders:
        databases = self._databases
        baskets, now = databases.collection(ORDERS, BASKETS), databases.now()
        counts = {status: _count(databases, {"status": status}) for status in (OPEN, ORDERED)}
        paid = max(0, baskets.estimated_document_count() - sum(counts.values()))
        first = list(baskets.find({"status": ORDERED}, {"ordered_at": 1}).sort(OLDEST_FIRST).limit(1))
        overdue = {"status": ORDERED, "resend_at": {"$lt": now - _OVERDUE}}
        return Orders(
            now=now,
            baskets={**counts, PAID_STATUS: paid},
            oldest=first[0].get("ordered_at") if first else None,
            stuck=_count(databases, {"status": ORDERED, "ordered_at": {"$lte": now - LONG}}),
            overdue=baskets.count_documents(overdue, limit=1000),
            verified=actions.last_verification(databases),
        )

    def _look_at_decisions(self) -> Counter[tuple[str, str]]:
        """Count what customers were told lately: billing keeps of its declines the last of each customer alone."""
        latest: list[dict[str, Any]] = [
            {"$match": {"recorded_at": {"$gt": self._databases.now() - RECENT}}},
            {"$sort": {"recorded_at": -1, "_id": -1}},
            {"$limit": DECISIONS},
            {"$group": {"_id": {"outcome": "$outcome", "reason": "$reason"}, "n": {"$sum": 1}}},
        ]
        counted = Counter(dict.fromkeys([(PAID_OUTCOME, ""), *((DECLINED_OUTCOME, code) for code in _USUAL)], 0))
        for row in self._databases.collection(NOTIFY, NOTIFICATIONS).aggregate(latest):
            outcome, reason = row["_id"]["outcome"], row["_id"]["reason"]
            counted[outcome, decline_code(reason) if outcome == DECLINED_OUTCOME else ""] += row["n"]
        return counted

    def _look_at_indexes(self) -> list[Trouble]:
        """Return what the functions would answer 503 for: they look for the same indexes."""
        troubles = []
        for service in SERVICES:
            if missing := _missing(self._databases, service):
                name = self._databases.collection(service, "meta").database.name
                says = f"{name} is not set up as the database of {service}: it has no index {', '.join(missing)}"
                troubles.append(Trouble("not_set_up", service, says))
        if different := epochs.disagreement(epochs.read(self._databases)):
            troubles.append(Trouble("epochs_differ", "", different.partition(";")[0]))
        return troubles

    def _look_at_groups(self) -> dict[str, Group] | None:
        if self._topics is None:
            return None
        if self._groups is None:
            self._groups = Groups(self._places.kafka, self._topics, self._timeout_s)
        return self._groups.look({name: consumer.topic for name, consumer in CONSUMERS.items()})

    def _look_at_letters(self) -> tuple[list[Letter], bool] | None:
        if self._topics is None:
            return None
        found, are_all = letters.latest(self._topics, self._places, LETTERS)
        try:
            return [letter for letter in letters.judged(found, self._databases) if letter.waiting], are_all
        except PyMongoError:
            return None  # which of them wait is not known; that MongoDB is away is said already


_USUAL: Final = tuple(map(decline_code, (INSUFFICIENT_FUNDS, UNKNOWN_USER)))
"""The decline codes that are counted when there is none of them, too."""

OLDEST_FIRST: Final = [("ordered_at", 1), ("_id", 1)]
"""In the order of the index `status_ordered_at`, for baskets of one status."""


def _count(databases: Databases, query: Document) -> int:
    """Count baskets by their index alone: the command reads no document, an aggregation would."""
    database = databases.collection(ORDERS, BASKETS).database
    answer = database.command("count", BASKETS, query=query, readConcern={"level": "majority"})
    return int(answer["n"])


def _missing(databases: Databases, service: str) -> list[str]:
    """Return the indexes that a service's database lacks."""
    missing = []
    for wanted in of(service):
        try:
            listed = list(databases.collection(service, wanted.name).list_indexes()) if wanted.indexes else []
        except OperationFailure:  # there is no such collection
            listed = []
        there = [list(index["key"].items()) for index in listed]
        missing += [f"{wanted.name}.{index.name}" for index in wanted.indexes if list(index.keys.items()) not in there]
    return missing


@dataclass(frozen=True)
class _Tried:
    value: Any = None
    failure: str = ""


def _try(look: Callable[[], Any]) -> _Tried:
    """Look, and say what kept it from it: whoever is away is what is looked for."""
    try:
        return _Tried(look())
    except (NotReachable, WrongUse, PyMongoError) as error:
        return _Tried(failure=" ".join(str(error).split())[:300] or type(error).__name__)


def _probe(url: str) -> str:
    """Ask a function whether it is well, and return what is wrong with it."""
    parts = urlsplit(url)
    port = parts.port or PORTS[parts.scheme]
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", port, timeout=_PROBE_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        text = answer.read(500).decode(errors="replace").strip()
    except TimeoutError:
        return f"{_SILENT} within {_PROBE_S} s: it is frozen, or far too busy"
    except (OSError, http.client.HTTPException) as error:
        return f"{_SILENT}: {error}"
    finally:
        connection.close()
    return "" if answer.status == 200 else f"answers {answer.status} to GET /healthz: {text}"


_SILENT: Final = "does not answer GET /healthz"


# --- what is wrong ---------------------------------------------------------------------------------------------------


def _of_mongodb(failure: str, found: Iterable[Trouble]) -> Iterator[Trouble]:
    if failure:
        yield Trouble("mongodb_away", "", f"MongoDB does not answer: {failure}")
    yield from found


def _of_kafka(failure: str) -> Iterator[Trouble]:
    if failure:
        yield Trouble("kafka_away", "", failure)


def of_consumers(status: Status) -> Iterator[Trouble]:
    """Yield why a consumer does not take its events: nobody brings them, or it does not answer, or it is not ready."""
    for name in CONSUMERS:
        group = (status.groups or {}).get(name)
        waits = "" if group is None else f"; {waiting(status, group)}"
        answer = status.answers.get(name, "")
        if group is not None and not group.members:
            why = "has no member in its consumer group: its KafkaSource is absent or not ready"
            yield Trouble("no_member", name, f"{name} {why}{waits}")
        if answer:
            cause = "no_answer" if answer.startswith(_SILENT) else "not_ready"
            yield Trouble(cause, name, f"{name} {answer}{waits}")
        elif group is not None and group.members and status.lag_s(group) > _BEHIND.total_seconds():
            asked = "it answers, so it is slow, or says that it cannot yet" if name in status.answers else "see its log"
            yield Trouble("behind", name, f"{name} is behind{waits}; {asked}")


def waiting(status: Status, group: Group) -> str:
    """Say how much a group has before it."""
    if not group.lag:
        return "no event waits for it"
    events = "1 event waits" if group.lag == 1 else f"{group.lag} events wait"
    return f"{events} for it, the oldest for {status.lag_s(group):.0f} s"


def decided(status: Status) -> str:
    """Say how many of the latest decisions had which outcome."""
    found = {f"{outcome} {code}".strip(): number for (outcome, code), number in (status.decided or {}).items()}
    total = sum(found.values())
    of_what = (
        f"of the latest {DECISIONS}" if total == DECISIONS else f"in the last {RECENT // timedelta(minutes=1)} min"
    )
    return f"{', '.join(f'{name} {number}' for name, number in found.items() if number) or 'nothing'} {of_what}"


def of_letters(status: Status) -> Iterator[Trouble]:
    """Yield the dead letters that wait, by function and code, with the latest reason of each."""
    at_least = "" if status.are_all else "at least "
    for (consumer, code), number in status.waiting.most_common():
        last = max(
            (each for each in status.letters or () if kind_of(each) == (consumer, code)), key=lambda each: each.at
        )
        many = "1 dead letter waits" if number == 1 else f"{number} dead letters wait"
        why = f"{consumer} refused with {code}, last at {rfc3339(last.at)}: {last.kind or 'without a reason'}"
        yield Trouble("dead_letters", consumer, f"{at_least}{many}; {why}")


def of_orders(status: Status) -> Iterator[Trouble]:
    """Yield what the databases show: orders that hang, a resend that does not come, problems that were found."""
    orders = status.orders
    if orders is None:
        return
    if orders.overdue:
        many = f"{orders.overdue} orders are" if orders.overdue > 1 else "1 order is"
        says = f"{many} overdue for a resend: resend_orders does not run, or cannot emit"
        yield Trouble("resend_late", "resend-orders", says)
    if orders.stuck:
        many = f"{orders.stuck} orders are" if orders.stuck > 1 else "1 order is"
        says = f"{many} undecided for longer than {LONG.total_seconds():.0f} s, the oldest for {orders.oldest_s:.0f} s"
        yield Trouble("undecided", "", says)
    if orders.verified is not None and orders.verified.problems:
        says = f"the last verification, at {rfc3339(orders.verified.at)}, found {orders.verified.problems} problems"
        yield Trouble("verify_failed", "", says)
