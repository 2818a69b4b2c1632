"""Reach MongoDB so that every answer rests on what a failover cannot take back, and no call hangs.

Promise: whatever leads to an answer or an emission was written with majority and journal, or read with majority from
the primary. Both are set here, in code, so that no connection string can weaken them. A network error, a write-concern
error or a deadline is never taken for "done" or "not done": it reaches the edge as PyMongoError, and the edge answers
"later".
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import pymongo
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import NetworkTimeout
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from shop.process import process

Document = dict[str, Any]

DEADLINE_S = 5.0
"""All of one request's calls to MongoDB together, and all of one batch that requests share: inside the function's 10 s,
which is inside Serving's 30 s."""

WRITE_CONCERN = WriteConcern(w="majority", j=True)


def client() -> AsyncMongoClient[Document]:
    """Return this process's client, made at the first call: a function starts, and is ready, while MongoDB is down."""
    return process.current().once(open_client)


def open_client() -> AsyncMongoClient[Document]:
    """Make a client, as this process's settings say: it is the connection pool, so a process has one."""
    its = process.current()
    listeners = []
    if its.tracer is not None:
        from shop.store.statements import Statements  # only where spans are wanted

        listeners.append(Statements(its.tracer))
    told = its.settings
    return AsyncMongoClient(told.mongodb_uri, appname=told.function, tz_aware=True, event_listeners=listeners)


class _Kept:
    """The databases and collections of a process: to make one at each call takes a twentieth of a payment."""

    def __init__(self) -> None:
        self.databases: dict[str, AsyncDatabase[Document]] = {}
        self.collections: dict[tuple[str, str], AsyncCollection[Document]] = {}


def database(service: str) -> AsyncDatabase[Document]:
    """Return the database of `orders`, `billing` or `notify`, majority and journal set."""
    kept = process.current().once(_Kept).databases
    if service not in kept:
        kept[service] = client().get_database(
            process.current().settings.databases[service],
            write_concern=WRITE_CONCERN,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )
    return kept[service]


def collection(service: str, name: str) -> AsyncCollection[Document]:
    """Return a collection of a service's database."""
    kept = process.current().once(_Kept).collections
    if (service, name) not in kept:
        kept[service, name] = database(service)[name]
    return kept[service, name]


_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)


@contextmanager
def deadline(seconds: float = DEADLINE_S) -> Iterator[None]:
    """Bound all calls to MongoDB made inside, together. A nested deadline can only be shorter."""
    limit = process.current().limit(seconds)
    before = _ends_at.set(min(_ends_at.get(), time.monotonic() + limit))
    try:
        with pymongo.timeout(limit):
            yield
    finally:
        _ends_at.reset(before)


@asynccontextmanager
async def shared_deadline(seconds: float = DEADLINE_S) -> AsyncIterator[None]:
    """Bound all commands of `shared` made inside, together. Raises NetworkTimeout, as the driver does.

    It has one timer for all of them. The driver's own deadline makes a timer for each part of each command, a twelfth
    of what a command costs. Each command needs `max_time_ms`.
    """
    limit = process.current().limit(seconds)
    before = _ends_at.set(time.monotonic() + limit)
    try:
        async with asyncio.timeout(limit):
            yield
    except TimeoutError as error:
        raise NetworkTimeout(f"no answer within {limit:g} s") from error
    finally:
        _ends_at.reset(before)


def max_time_ms() -> int:
    """Return how long MongoDB may take for a command inside `shared_deadline`, so that it does not go on alone."""
    return max(1, int((_ends_at.get() - time.monotonic()) * 1000))


def is_left() -> float | None:
    """Return how many seconds the deadline leaves, for who waits for a call that others share; None: there is none."""
    return None if _ends_at.get() == math.inf else _ends_at.get() - time.monotonic()


def latest(of: AsyncCollection[Document]) -> AsyncCollection[Document]:
    """Return the collection for a read of one document that is an answer by itself, with no write to confirm it.

    Majority alone means durable, not latest: a primary that was cut off, and does not know yet that it was replaced,
    answers from before. A linearizable read first makes sure that it still is the primary.
    """
    return of.with_options(read_concern=ReadConcern("linearizable"))


@asynccontextmanager
async def session() -> AsyncIterator[AsyncClientSession]:
    """Open a causally consistent session: a read in it sees at least what the writes before it saw."""
    async with client().start_session(causal_consistency=True) as opened:
        yield opened
