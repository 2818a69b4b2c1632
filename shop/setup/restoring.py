"""Begin a new epoch after a restore, in all three databases, before any function starts.

Promise: what was emitted in the time that the restore took back is not acted on any more, and what is still ordered is
asked for again at once. It may be run again while no function runs: each run begins another epoch.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from bson import Int64
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from shop.messages import rfc3339
from shop.setup.databases import Databases
from shop.state import BASKETS, EPOCH_ID, META, ORDERED, ORDERS, SERVICES, of
from shop.store.change import upsert
from shop.store.client import Document
from shop.store.pipeline import NOW

_log = logging.getLogger(__name__)

_LOOK_S = 60.0
"""How long a database may take to say what it holds: the driver looks for a primary for half of it."""

FUNCTIONS = (
    *("create_user", "deposit_cash", "get_user", "get_basket", "create_order", "get_order"),
    *("billing_handler", "order_handler", "notify_handler", "list_notify", "resend_orders"),
    "webhook_handler",
)
"""The names of the functions' connections at MongoDB."""


@dataclass(frozen=True)
class Restored:
    """The epoch that began, and how many baskets are asked for again at once."""

    epoch: int
    restored_at: datetime
    asked_again: int


class NotRestored(Exception):
    """Say why no epoch began, or that it began in some of the databases only."""


@dataclass(frozen=True)
class _Found:
    epoch: int
    time: datetime


async def restored() -> Restored:
    """Begin the next epoch in all three databases, and make every ordered basket due; say what was found.

    The epoch is above all that any of the three has seen, and not below the time in milliseconds: a backup that is
    restored twice has forgotten the epoch between, but its events are still in the topics.

    Raises NotRestored: nothing was changed when a database cannot be read.
    """
    async with Databases() as databases:
        found = {}
        for service in SERVICES:
            try:
                async with asyncio.timeout(_LOOK_S):
                    found[service] = await _look(databases, service)
            except (PyMongoError, TimeoutError) as error:
                raise NotRestored(f"{databases[service].name} cannot be read, nothing was changed: {error}") from error
        restored_at = max(each.time for each in found.values())
        epoch = max(*(each.epoch + 1 for each in found.values()), int(restored_at.timestamp() * 1000))
        if len({each.epoch for each in found.values()}) > 1:
            _log.info("the epochs differ: the databases are not as of one moment, or a run before this one broke off")
        asked_again = await _begin(databases, epoch, restored_at)
    _log.info("epoch %d begins, restored at %s", epoch, rfc3339(restored_at))
    _log.info("ordered baskets that are asked for again at once: %d", asked_again)
    return Restored(epoch, restored_at, asked_again)


async def _look(databases: Databases, service: str) -> _Found:
    """Return what a database says of its epoch; log it, with what else tells whether it is the right one."""
    database = databases[service]
    meta = await database[META].find_one({"_id": EPOCH_ID})
    hello = await databases.client(service).admin.command("hello")
    counts = [
        f"{collection.name}: {await database[collection.name].estimated_document_count()}"
        for collection in of(service)
        if collection.user is not None
    ]
    found = _Found(int(meta["epoch"]) if meta else 0, hello["localTime"].replace(tzinfo=UTC))
    since = f" since {rfc3339(meta['restored_at'])}" if meta else ""
    _log.info("%s: epoch %d%s; %s", database.name, found.epoch, since, ", ".join(counts))
    if connected := await _connected_functions(databases, service):
        _log.warning("%s: still connected are %s; end them: their epoch is over", database.name, connected)
    return found


async def _connected_functions(databases: Databases, service: str) -> str:
    """Name the functions that have connections to a MongoDB, when it tells."""
    try:
        connections = await databases.client(service).admin.aggregate(
            [
                {"$currentOp": {"allUsers": True, "idleConnections": True}},
                {"$match": {"appName": {"$in": FUNCTIONS}}},
                {"$group": {"_id": "$appName"}},
                {"$sort": {"_id": 1}},
            ]
        )
        return ", ".join([connection["_id"] async for connection in connections])
    except OperationFailure as error:
        return f"functions, perhaps (they cannot be looked for: {error.details and error.details.get('errmsg')})"


async def _begin(databases: Databases, epoch: int, restored_at: datetime) -> int:
    """Write the epoch, orders first: a request of a later epoch than billing's waits, one of an older is refused."""
    begun: list[str] = []
    try:
        for service in SERVICES:
            await _write(databases[service], epoch, restored_at)
            begun.append(service)
        due = await databases[ORDERS][BASKETS].update_many({"status": ORDERED}, [{"$set": {"resend_at": NOW}}])
    except PyMongoError as error:
        raise NotRestored(
            f"epoch {epoch} began in {', '.join(begun) or 'none'} of {', '.join(SERVICES)} for sure; "
            f"run it again before any function starts: {error}"
        ) from error
    return due.matched_count


async def _write(database: AsyncDatabase[Document], epoch: int, restored_at: datetime) -> None:
    later = {"$max": ["$epoch", Int64(epoch)]}
    await upsert(
        database[META],
        {"_id": EPOCH_ID},
        [{"$replaceWith": {"_id": EPOCH_ID, "epoch": later, "restored_at": restored_at}}],
    )
