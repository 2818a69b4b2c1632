"""Look at the shop's state as a whole, in the one place that does.

Promises: a part that is away never keeps the others from being looked at. One look takes less than a second while all
parts answer, however many baskets there are, for it goes by indexes alone.
"""

import http.client
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from pymongo.errors import OperationFailure, PyMongoError

from operate import actions, epochs, letters, troubles
from operate.databases import Databases, Document
from operate.errors import NotReachable, WrongUse
from operate.groups import Group, Groups
from operate.letters import Letter
from operate.places import CONSUMERS, KNOWN, OPTIONAL, Places
from operate.status import DECISIONS, LONG, RECENT, SILENT, Orders, Status, Trouble
from operate.topics import Topics
from operate.urls import PORTS
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

_OVERDUE: Final = timedelta(seconds=150)
"""How late resend_orders may be: it comes each minute, and one tick may be lost."""

LETTERS: Final = 5_000
"""How many records of the dead letters are looked at, the latest: some hundred milliseconds."""

_PROBE_S: Final = 0.8
"""How long a consumer may take to say that it is well; a frozen one would take for ever."""

_USUAL: Final = tuple(map(decline_code, (INSUFFICIENT_FUNDS, UNKNOWN_USER)))
"""The decline codes that are counted when there is none of them, too."""

_OLDEST_FIRST: Final = [("ordered_at", 1), ("_id", 1)]
"""In the order of the index `status_ordered_at`, for baskets of one status."""


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
        wrong = troubles.of(
            status,
            missing.value or (),
            mongodb=mongodb.failure or missing.failure or decisions.failure,
            kafka=dead.failure or kafka.failure,
        )
        return replace(status, troubles=wrong, seconds=(datetime.now(UTC) - begun).total_seconds())

    def _probed(self) -> list[str]:
        """Name the consumers that can be asked. They are always there; another function would be started by it."""
        return [name for name in CONSUMERS if name in self._places.functions]

    def _look_at_orders(self) -> Orders:
        databases = self._databases
        baskets, now = databases.collection(ORDERS, BASKETS), databases.now()
        counts = {status: _count(databases, {"status": status}) for status in (OPEN, ORDERED)}
        paid = max(0, baskets.estimated_document_count() - sum(counts.values()))
        first = list(baskets.find({"status": ORDERED}, {"ordered_at": 1}).sort(_OLDEST_FIRST).limit(1))
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
        found = []
        for service in SERVICES:
            if missing := _missing(self._databases, service):
                name = self._databases.collection(service, "meta").database.name
                says = f"{name} is not set up as the database of {service}: it has no index {', '.join(missing)}"
                found.append(Trouble("not_set_up", service, says))
        if different := epochs.disagreement(epochs.read(self._databases)):
            found.append(Trouble("epochs_differ", "", different.partition(";")[0]))
        return found

    def _look_at_groups(self) -> dict[str, Group] | None:
        if self._topics is None:
            return None
        if self._groups is None:
            self._groups = Groups(self._places.kafka, self._topics, self._timeout_s)
        return self._groups.look({name: consumer.topic for name, consumer in KNOWN.items()}, if_there=OPTIONAL)

    def _look_at_letters(self) -> tuple[list[Letter], bool] | None:
        if self._topics is None:
            return None
        found, are_all = letters.latest(self._topics, self._places, LETTERS)
        try:
            return [letter for letter in letters.judged(found, self._databases) if letter.waiting], are_all
        except PyMongoError:
            return None  # which of them wait is not known; that MongoDB is away is said already


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
        return f"{SILENT} within {_PROBE_S} s: it is frozen, or far too busy"
    except (OSError, http.client.HTTPException) as error:
        return f"{SILENT}: {error}"
    finally:
        connection.close()
    return "" if answer.status == 200 else f"answers {answer.status} to GET /healthz: {text}"
