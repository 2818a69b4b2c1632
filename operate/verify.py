"""Verify every user of a running shop, and send again what repairs a problem.

Repair tells again what the databases hold as decided, and asks for the payment of what orders holds as ordered. Nothing
else: it never asks billing about an attempt that orders has as paid or declined. If billing has lost that decision, it
would decide anew, and charge what the customer was told was declined.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from operate import audit, epochs, histories
from operate.audit import Problem
from operate.databases import Databases
from operate.deliver import Answer, Target, send_all
from operate.errors import WrongUse
from operate.histories import History
from operate.payments import Payment, as_event
from operate.running import RunningShop
from shop.messages import TOPICS, event_id
from shop.state import COLLECTIONS, SERVICES
from wire.address import hosts
from wire.event import Event

_AT_ONCE: Final = 8  # events in flight; KafkaSink takes as many from one function
_POLL_S: Final = 1.0
_COUNTED: Final = ("users", "baskets", "paid baskets", "notifications", "deposited", "paid", "balance")


def check_that_all_is_there(running: RunningShop, databases: Databases) -> None:
    """Raise WrongUse for a database that is not set up: on the wrong one nothing could ever be wrong."""
    lacking = [
        f"{_where(running, databases, service)} has no collection {', '.join(missing)}"
        for service, missing in _missing(databases).items()
    ]
    if lacking:
        raise WrongUse(
            f"nothing was verified: {'; '.join(lacking)}. Set ORDERS_DATABASE and its like to the databases' names, or "
            "set them up with python -m shop.setup"
        )


def check_that_somebody_was_there(
    running: RunningShop, databases: Databases, totals: Counter[str], user: str | None
) -> None:
    """Raise WrongUse when there was no user to verify: a job that runs on the wrong database must not be content."""
    if not totals["users"]:
        who = "there is no user" if user is None else f"there is no user {user!r}"
        where = ", ".join(_where(running, databases, service) for service in SERVICES)
        raise WrongUse(f"nothing was verified: {who} in {where}")


def _missing(databases: Databases) -> dict[str, list[str]]:
    missing: dict[str, list[str]] = {}
    for wanted in COLLECTIONS:
        known = databases.collection(wanted.service, wanted.name).database.list_collection_names()
        # Without a `meta` it is of epoch 0, and without `actions` nobody has done anything.
        if wanted.name not in known and wanted.user is not None:
            missing.setdefault(wanted.service, []).append(wanted.name)
    return missing


def _where(running: RunningShop, databases: Databases, service: str) -> str:
    name = databases.collection(service, "meta").database.name
    return f"{name} at {hosts(running.places.databases[service].at)}"


# --- looking ---------------------------------------------------------------------------------------------------------


@dataclass
class Look:
    """Looks at users, and what they found in all."""

    databases: Databases
    older_than: timedelta
    archives: bool
    totals: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_COUNTED, 0)))
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.epochs = epochs.read(self.databases)

    def at_everybody(self, user: str | None, step: Callable[[], None] = lambda: None) -> list[Problem]:
        """Return the problems of all users, or of one, counting everything."""
        found: list[Problem] = []
        settled_by = self._settled_by()
        for history in histories.histories(self.databases, user, archives=self.archives):
            self._count(history)
            problems = self._at(history, settled_by)
            if problems and not history.has_archives:  # they say what became of an old basket
                problems = self.at(history.user)
            found += problems
            step()
        return found

    def at(self, user: str) -> list[Problem]:
        """Return all problems of one user, as they are now."""
        settled_by = self._settled_by()
        known = histories.histories(self.databases, user, archives=True)
        return [problem for history in known for problem in self._at(history, settled_by)]

    def again(self, found: Iterable[Problem]) -> list[Problem]:
        """Return those of the problems that are still there."""
        before = set(found)
        users = dict.fromkeys(problem.user for problem in before)
        return [problem for user in users for problem in self.at(user) if problem in before]

    def users(self) -> int:
        """Return about how many users there are."""
        return int(self.databases.collection("billing", "users").estimated_document_count())

    def _settled_by(self) -> datetime:
        return self.databases.now() - self.older_than

    def _at(self, history: History, settled_by: datetime) -> list[Problem]:
        return list(audit.problems(history, settled_by, self.epochs["orders"].number))

    def _count(self, history: History) -> None:
        account = history.account
        archived = account.get("archived", {})
        self.totals["users"] += 1
        self.totals["baskets"] += len(history.baskets)
        self.totals["paid baskets"] += sum(basket["status"] == "paid" for basket in history.baskets)
        self.totals["notifications"] += len(history.notifications)
        self.totals["deposited"] += audit.total(account.get("deposits", ())) + archived.get("deposited", 0)
        self.totals["paid"] += audit.total(account.get("paid_baskets", ())) + archived.get("paid", 0)
        self.totals["balance"] += account.get("balance", 0)


# --- repairing -------------------------------------------------------------------------------------------------------


Repair = tuple[Payment, str | None]
"""An event, and the trace of its order."""


def repairs(found: Iterable[Problem]) -> list[Repair]:
    """Return the events that repair problems, each once."""
    events = ((problem.repair, problem.traceparent) for problem in found if problem.repair is not None)
    return list({(type(event), event_id(event)): (event, its) for event, its in events}.values())


def send(running: RunningShop, repairs: Iterable[Repair], step: Callable[[], None] = lambda: None) -> None:
    """Send events to their topics, byte for byte as the functions emit them. Raises NotReachable."""
    by_topic: dict[str, list[Event]] = {}
    for payment, traceparent in repairs:
        by_topic.setdefault(TOPICS[type(payment)], []).append(as_event(payment, traceparent))
    for topic, events in by_topic.items():
        sink = running.sink(topic)

        def told(_: Event, answer: Answer, sink: Target = sink) -> None:
            sink.insist(answer)
            step()

        asyncio.run(send_all(sink, events, told, concurrency=_AT_ONCE))


def after_repair(look: Look, found: list[Problem], limit_s: float) -> tuple[list[Problem], int]:
    """Wait until nothing that an event repairs is left; return all problems there are then, and how many were mended.

    Each user concerned is looked at as a whole: what an event led to must be as right as what it was sent for.
    """
    users = {problem.user: None for problem in found if problem.repair is not None}
    untouched = [problem for problem in found if problem.user not in users]
    deadline = time.monotonic() + limit_s
    before: list[Problem] | None = None
    while True:
        now = [problem for user in users for problem in look.at(user)]
        passing = before is None or set(before) != set(now) or any(problem.repair for problem in now)
        if not now or not passing or time.monotonic() > deadline:
            left = untouched + now
            return left, len(set(found) - set(left))
        before = now
        time.sleep(_POLL_S)
