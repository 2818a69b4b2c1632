"""Remove the duplicates that keep a unique index from being made, where no money hangs on them.

They come from functions that ran before setup did. Of several baskets of one user and number only those go that were
never ordered, that billing has never heard of, and beside which another one stays. Of several equal entries in an
archive one stays. Everything else is for somebody to decide, and only named.

Safe while functions run: a basket is removed by a condition on its being open at attempt 0, which once ordered it never
is again; whoever orders one that is gone is told 404, and takes the other.
"""

import logging

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from shop.setup.databases import Databases
from shop.setup.duplicates import find, name_all
from shop.state import BASKETS, BILLING, COLLECTIONS, OPEN, PAID_BASKETS, SERVICES, USERS, Collection, Index
from shop.store.client import Document

_log = logging.getLogger(__name__)

_GROUPS = 10_000
"""How many groups of duplicates one look returns."""

_LOOKS = 100
"""The most looks: a million groups in one run, and an end whatever happens."""

_NEVER_ORDERED = {"status": OPEN, "attempt": 0}


async def mend(services: tuple[str, ...] = SERVICES) -> list[str]:
    """Remove the duplicates that may go, and return those that have to stay, named.

    All three databases are needed, whatever is mended: whether money hangs on a basket, billing knows.
    """
    async with Databases() as databases:
        stay: list[str] = []
        for wanted in COLLECTIONS:
            if wanted.service in services:
                for index in wanted.indexes:
                    if index.unique:
                        stay += await _mend(databases, wanted, index)
        return stay


async def _mend(databases: Databases, wanted: Collection, index: Index) -> list[str]:
    """Mend one collection: look again until a look finds nothing that may go.

    What was found and could not be removed was ordered in between: then another one of its group may go.
    """
    database = databases[wanted.service]
    for _ in range(_LOOKS):
        groups = await find(database, wanted.name, index, _GROUPS)
        superfluous = [document for group in groups for document in await _superfluous(databases, wanted, group)]
        for document in superfluous:
            await _remove(database, wanted, document)
        if not superfluous:
            return [f"{database.name}.{wanted.name}: {name_all(index, documents)}" for documents in groups]
    return [f"{database.name}.{wanted.name} has more duplicates; run it again"]


async def _superfluous(databases: Databases, wanted: Collection, documents: list[Document]) -> list[Document]:
    """Return those of a group that may go. Whoever looks, and when, chooses the same one to stay."""
    if wanted.name != BASKETS:
        same = all(_content(document) == _content(documents[0]) for document in documents)
        # An entry with its position is what the account counts; the others were left by functions that know none.
        return sorted(documents, key=lambda each: "position" not in each)[1:] if same else []
    unused = [
        document
        for document in documents
        if document["status"] == OPEN
        and document["attempt"] == 0
        and not await _billing_knows(databases[BILLING], document["user"], document["_id"])
    ]
    return unused if len(unused) < len(documents) else unused[1:]


def _content(document: Document) -> Document:
    return {field: value for field, value in document.items() if field not in ("_id", "position", "through")}


async def _billing_knows(billing: AsyncDatabase[Document], user: str, basket: ObjectId) -> bool:
    """Tell whether billing has decided about a basket: it may have been ordered before orders was restored."""
    mentioned = {"$or": [{"paid_baskets.basket": basket}, {"declined.basket": basket}]}
    if await billing[USERS].find_one({"_id": user, **mentioned}, {"_id": 1}):
        return True
    return await billing[PAID_BASKETS].find_one({"user": user, "basket": basket}, {"_id": 1}) is not None


async def _remove(database: AsyncDatabase[Document], wanted: Collection, document: Document) -> None:
    condition = _NEVER_ORDERED if wanted.name == BASKETS else {}
    key = {"_id": document["_id"], "user": document["user"]}
    if (await database[wanted.name].delete_one({**key, **condition})).deleted_count:
        _log.info("%s.%s: removed %s of user %s", database.name, wanted.name, document["_id"], document["user"])
