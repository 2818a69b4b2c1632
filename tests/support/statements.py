"""Hold every statement that a function sends to MongoDB to what a sharded collection takes: the user by equality.

`watching(function)` holds those of the code inside to it; `tests/support/asgi.py` does so with each call of a function,
so that all tests that call functions are tests of this too.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pymongo import monitoring

from shop.process import process
from shop.state import COLLECTIONS
from shop.store.shared import Lane

FREE_READS = {
    "list_notify": ("notifications", "List of all users"),
    "resend_orders": ("baskets", "who is due; each is then claimed by user and _id"),
    "notify_handler": ("notifications", "whose the notification is that an upsert met, by its _id"),
}
"""The reads that may ask all shards: function -> collection, and why."""

_READS = {"find", "aggregate"}

_NO_STATEMENT = {
    *("hello", "ping", "saslStart", "saslContinue", "endSessions"),
    *("killCursors", "getMore", "listIndexes"),
}


SENT: dict[str, set[str]] = {}
"""What each function has sent so far: commands with their collections."""


@dataclass
class _Watched:
    function: str
    wrong: list[str] = field(default_factory=list)


_watched: ContextVar[_Watched | None] = ContextVar("watched", default=None)

_open: list[_Watched] = []
"""All who are watched now, the latest last."""


@contextmanager
def watching(function: str) -> Iterator[None]:
    """Watch the statements of this task; raise AssertionError at the end when one does not name its user."""
    watched = _Watched(function)
    token = _watched.set(watched)
    _open.append(watched)
    try:
        yield
    finally:
        _open.remove(watched)
        _watched.reset(token)
    assert not watched.wrong, f"{function} sent what a sharded MongoDB refuses: {watched.wrong}"


class _Listener(monitoring.CommandListener):
    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Check one statement."""
        watched = _watched.get() or _who_shares()
        if watched is None or event.command_name in _NO_STATEMENT:
            return
        name = str(event.command[event.command_name])
        SENT.setdefault(watched.function, set()).add(f"{event.command_name} {name}")
        if not names_its_user(event.database_name, event.command_name, event.command) and not (
            event.command_name == "find" and FREE_READS.get(watched.function, ("",))[0] == name
        ):
            watched.wrong.append(f"{event.command_name} {event.database_name}.{name}: {event.command}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to do."""


def _who_shares() -> _Watched | None:
    """Return one of those who are watched, when a batch is sent: it may be for any of them."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs here: a client of the `orders` command, which sends no batch
        return None
    coroutine = None if task is None else task.get_coro()
    return _open[-1] if _open and getattr(coroutine, "cr_code", None) is Lane.run.__code__ else None


monitoring.register(_Listener())  # for all clients that are made from now on


def names_its_user(database: str, command_name: str, command: Mapping[str, Any]) -> bool:
    """Tell whether every filter, or inserted document, of a command has the user as a plain value.

    A read may be of several users.
    """
    name = command[command_name]
    names = process.current().settings.databases
    wanted = next(c for c in COLLECTIONS if names[c.service] == database and c.name == name)
    if wanted.user is None:  # not about users: one document, found by its _id
        return command_name == "find" and isinstance(command["filter"].get("_id"), str)
    filters: list[Mapping[str, Any]]
    match command_name:
        case "find":
            filters = [command["filter"]]
        case "findAndModify":
            filters = [command["query"]]
        case "update" | "delete":
            filters = [statement["q"] for statement in command[f"{command_name}s"]]
        case "insert":
            filters = command["documents"]
        case "aggregate":
            filters = [command["pipeline"][0].get("$match", {})]
        case _:
            return False
    return bool(filters) and all(_names(wanted.user, each, several=command_name in _READS) for each in filters)


def _names(user: str, filter_: Mapping[str, Any], *, several: bool) -> bool:
    match filter_.get(user):
        case str():
            return True
        case {"$in": [*users]} if several:
            return bool(users) and all(isinstance(each, str) for each in users)
    if several and (either := filter_.get("$or")):
        return all(_names(user, each, several=False) for each in either)
    return False
