"""Histories that are inserted, not lived: what the databases hold after so many orders of so many users."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from bson import Int64, ObjectId
from pymongo import AsyncMongoClient
from pymongo.write_concern import WriteConcern

from bench.payments import MONEY
from shop.process.settings import ArrayLimits

Document = dict[str, Any]
Documents = Iterator[tuple[str, str, Document]]
"""Database, collection and document, one after the other."""

_BATCH: Final = 5000
_AT_ONCE: Final = 2  # one is encoded while mongod inserts the other
_ONE: Final = Int64(1)
_THEN: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Ids:
    """Basket ids that nobody else makes."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def next(self) -> ObjectId:
        """Return another one."""
        return ObjectId(f"{next(self._numbers):024x}")


def of(user: str, paid: int, ids: Ids) -> Documents:
    """Return all that is known of a user with so many paid baskets.

    Each has cost 1, and the next basket is open. What an account has outgrown is in the archive.
    """
    limits = ArrayLimits()
    over = max(paid - limits.limit + 1, 0)
    moved = -(-over // limits.batch) * limits.batch
    charges: list[Document] = []
    for number in range(1, paid + 1):
        basket = ids.next()
        charge = {"number": Int64(number), "basket": basket, "attempt": _ONE, "sum": _ONE, "paid_at": _THEN}
        if number <= moved:
            position = {"position": Int64(number), "through": Int64(number)}
            yield "billing", "paid_baskets", {"user": user, **charge, **position}
        else:
            charges.append(charge)
        settled = {"status": "paid", "attempt": _ONE, "sum": _ONE, "ordered_at": _THEN, "decided_at": _THEN}
        yield "orders", "baskets", {"_id": basket, "user": user, "number": Int64(number), **settled}
        yield "notify", "notifications", notification(user, basket)
    account: Document = {"_id": user, "balance": Int64(MONEY), "paid_baskets": charges}
    account["deposits"] = [{"key": "all", "sum": Int64(MONEY + paid), "at": _THEN}]
    if moved:
        account["archived"] = {"paid": Int64(moved), "paid_baskets": Int64(moved)}
        account["archived_through"] = Int64(moved)
    yield "billing", "users", account
    still_open = {"number": Int64(paid + 1), "status": "open", "attempt": Int64(0)}
    yield "orders", "baskets", {"_id": ids.next(), "user": user, **still_open}


def notification(user: str, basket: ObjectId) -> Document:
    """Return what a customer was told of a basket."""
    told = {"outcome": "paid", "reason": "", "decided_at": _THEN, "recorded_at": _THEN}
    return {"_id": f"{basket}.1", "user": user, "basket": basket, "attempt": _ONE, "sum": _ONE, **told}


async def insert(uri: str, names: Mapping[str, str], documents: Documents, tell: Callable[[int], None]) -> None:
    """Insert documents, many at a time, into the databases with these names; tell how many there are by now.

    The validators see the first of each collection: a shape that has changed is found at once, and the rest is faster.
    """
    inserted, seen, turns = 0, set[tuple[str, str]](), asyncio.Semaphore(_AT_ONCE)
    async with AsyncMongoClient[Document](uri) as client, asyncio.TaskGroup() as inserting:

        async def many(database: str, collection: str, batch: list[Document]) -> None:
            nonlocal inserted
            there = client[names[database]].get_collection(collection, write_concern=WriteConcern(w=1, j=False))
            bypass = (database, collection) in seen
            seen.add((database, collection))
            await there.insert_many(batch, ordered=False, bypass_document_validation=bypass)
            turns.release()
            inserted += len(batch)
            tell(inserted)

        waiting: dict[tuple[str, str], list[Document]] = {}
        for database, collection, document in documents:
            batch = waiting.setdefault((database, collection), [])
            batch.append(document)
            if len(batch) == _BATCH:
                await turns.acquire()
                inserting.create_task(many(database, collection, waiting.pop((database, collection))))
        for (database, collection), batch in waiting.items():
            await turns.acquire()
            inserting.create_task(many(database, collection, batch))
