"""Reach MongoDB so that every answer rests on what a failover cannot take back, and no call hangs.

Promise: whatever leads to an answer or an emission was written with majority and journal, or read with majority from
the primary. Both are set here, in code, so that no connection string can weaken them. What is refused for good was
looked at as it is now, not as a primary that was replaced had it. A network error, a write-concern error or a deadline
is never taken for "done" or "not done": it reaches the edge as PyMongoError, and the edge answers "later".
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar

import pymongo
from pymongo import AsyncMongoClient, ReadPreference, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from shop.errors import Rejected, Unavailable
from shop.process import settings

R = TypeVar("R")

Document = dict[str, Any]
Pipeline = Sequence[Mapping[str, Any]]

DEADLINE_S = 5.0
"""All of one request's calls to MongoDB together: inside the function's 10 s, which is inside Serving's 30 s."""

NOW = "$$NOW"
"""The server's time. It works in update pipelines only: in an insert or `$setOnInsert` it would be stored as text."""

_client: AsyncMongoClient[Document] | None = None


def client() -> AsyncMongoClient[Document]:
    """Return this process's client, made at the first call: a function starts, and is ready, while MongoDB is down."""
    global _client  # one client per process: it is the connection pool
    if _client is None:
        told = settings.get()
        _client = AsyncMongoClient(told.mongodb_uri, appname=told.function, tz_aware=True)
    return _client


async def close() -> None:
    """Close this process's client; the next call makes another."""
    global _client
    if _client is not None:
        await _client.close()
        _client = None


def database(service: str) -> AsyncDatabase[Document]:
    """Return the database of `orders`, `billing` or `notify`, majority and journal set."""
    return client().get_database(
        settings.get().databases[service],
        write_concern=WriteConcern(w="majority", j=True),
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
    )


def collection(service: str, name: str) -> AsyncCollection[Document]:
    """Return a collection of a service's database."""
    return database(service)[name]


def deadline(seconds: float = DEADLINE_S) -> AbstractContextManager[object]:
    """Bound all calls to MongoDB made inside, together. A nested deadline can only be shorter."""
    return pymongo.timeout(seconds)


async def upsert(
    into: AsyncCollection[Document],
    key: Mapping[str, Any],
    update: Mapping[str, Any] | Pipeline,
) -> Document:
    """Apply an update to the document with this key, made if there is none, and return it after that.

    The key is a unique key and nothing else: a condition beside it would turn a normal race into a duplicate key error.
    """
    stored = await into.find_one_and_update(key, update, upsert=True, return_document=ReturnDocument.AFTER)
    if stored is None:
        raise AssertionError("an upsert that returns the document after it has one")
    return stored


def latest(of: AsyncCollection[Document]) -> AsyncCollection[Document]:
    """Return the collection for a read of one document that is an answer by itself, with no write to confirm it.

    Majority alone means durable, not latest: a primary that was cut off, and does not know yet that it was replaced,
    answers from before. A linearizable read first makes sure that it still is the primary.
    """
    return of.with_options(read_concern=ReadConcern("linearizable"))


async def is_latest(of: AsyncCollection[Document], key: Mapping[str, Any], seen: Document | None) -> bool:
    """Tell whether this is the latest of a document, or of its absence, before something is refused because of it.

    What an update changed is the latest. One that changed nothing had nothing to wait for: the primary that looked may
    have been replaced, and a basket or an account that it does not know is there all the same.
    """
    return await latest(of).find_one(key) == seen


_RACES = 10
"""How often a document may change between an update that refuses and the look at whether that was the latest."""


async def update(
    of: AsyncCollection[Document], key: Mapping[str, Any], change: Pipeline, read: Callable[[Document | None], R]
) -> R:
    """Apply an update and return what `read` makes of the document after it (None: there is none).

    One round trip. What `read` raises as Rejected is raised when it rests on the latest state, and else tried again.
    """
    for _ in range(_RACES):
        stored = await of.find_one_and_update(key, change, return_document=ReturnDocument.AFTER)
        try:
            return read(stored)
        except Rejected:
            if await is_latest(of, key, stored):
                raise
    raise Unavailable("it changes faster than it can be read; try again")


@asynccontextmanager
async def session() -> AsyncIterator[AsyncClientSession]:
    """Open a causally consistent session: a read in it sees at least what the writes before it saw."""
    async with client().start_session(causal_consistency=True) as opened:
        yield opened


REMOVE = "$$REMOVE"
"""The value that takes a field away."""


def when(condition: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what one `$set` needs to make all the changes when the condition holds, and else none of them.

    Conditions see the document as it was. Keep it to one stage: a second `$set` would see the first one's values.
    """
    return {field: {"$cond": [condition, value, f"${field}"]} for field, value in changes.items()}


def literal(value: object) -> Mapping[str, object]:
    """Return a value that MongoDB takes as it is. Customers' strings need it: `$balance` is a legal user."""
    return {"$literal": value}


def array(field: str) -> Mapping[str, object]:
    """Return an array field, empty when missing: `$in` and `$concatArrays` fail over, or become, a missing one."""
    return {"$ifNull": [f"${field}", []]}
