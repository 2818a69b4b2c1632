"""Know, before anything is done, that what the protocol rests on is there, and which epoch this is.

Promises: nothing is written where a unique index is still missing, whatever was deployed in which order; and all that a
process says is of the epoch that it began in, so that one that is left over from before a restore is recognised.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from shop import state
from shop.errors import Code, Unavailable
from shop.process import process
from shop.store import client
from shop.store.client import Document

_NAMESPACE_NOT_FOUND = 26


@dataclass(frozen=True)
class Epoch:
    """The time since a restore of the databases: 0 before the first one."""

    number: int
    restored_at: datetime | None


@dataclass
class Known:
    """What a process found out about services, once and for all of its life."""

    indexed: set[str] = field(default_factory=set)
    epochs: dict[str, Epoch] = field(default_factory=dict)


def known() -> Known:
    """Return what this process knows: nothing, when it just started."""
    return process.current().once(Known)


async def ready(service: str) -> Epoch:
    """Return the epoch of a service whose collections have their indexes; both are looked up once per process.

    Calls that come before the first look has ended look for themselves: to wait for another's would make them fail with
    its deadline. They all return the epoch that was found first.

    Raises Unavailable, before anything was done, when setup did not make the indexes yet.
    """
    epochs = known().epochs
    if service not in epochs:
        with client.deadline():
            if missing := await _missing(service):
                raise Unavailable(Code.NOT_SET_UP, missing)
            found = await _epoch(service)
        epochs.setdefault(service, found)
    return epochs[service]


async def problem(service: str, within_s: float) -> str | None:
    """Return what is missing of a service's indexes, for a health check; None when nothing is, or MongoDB is away."""
    try:
        async with asyncio.timeout(process.current().limit(within_s)):
            with client.deadline(within_s):
                return await _missing(service)
    except (PyMongoError, TimeoutError):
        return None


async def _missing(service: str) -> str | None:
    indexed = known().indexed
    if service not in indexed:
        missing = [
            f"{collection.name}.{index.name}"
            for collection in state.of(service)
            if any(not index.for_operators for index in collection.indexes)
            for index in lacking(collection, await built_indexes(client.database(service), collection.name))
            if not index.for_operators
        ]
        if missing:
            return (
                f"{process.current().settings.databases[service]} is not set up: it has no index {', '.join(missing)}. "
                "Run `python -m shop.setup`; nothing is done until then"
            )
        indexed.add(service)
    return None


async def built_indexes(database: AsyncDatabase[Document], name: str) -> list[Document]:
    """Return the indexes of a collection as MongoDB lists them, without those that are still being built.

    The driver's own list has these too, and a unique index that is being built refuses nothing.
    """
    try:
        listed = await database.command("listIndexes", name, includeBuildUUIDs=True, cursor={})
    except OperationFailure as error:
        if error.code == _NAMESPACE_NOT_FOUND:
            return []
        raise
    return [index for index in listed["cursor"]["firstBatch"] if "buildUUID" not in index]


def lacking(collection: state.Collection, listed: Iterable[Document]) -> list[state.Index]:
    """Return the indexes that a collection must have and MongoDB does not list; their names do not matter."""
    there = [
        (list(index["key"].items()), bool(index.get("unique")), index.get("partialFilterExpression"))
        for index in listed
    ]
    return [index for index in collection.indexes if (list(index.keys.items()), index.unique, index.only) not in there]


async def _epoch(service: str) -> Epoch:
    meta = client.latest(client.collection(service, state.META))
    stored = await meta.find_one({"_id": state.EPOCH_ID})
    return Epoch(0, None) if stored is None else Epoch(int(stored["epoch"]), stored["restored_at"])
