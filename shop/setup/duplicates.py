"""Find the documents that keep a unique index from being made, and say whose they are."""

from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from shop.state import Collection, Index
from shop.store.client import Document

_MOST_NAMED = 20
"""Of those that share a key, in one message."""


async def find(database: AsyncDatabase[Document], name: str, index: Index, limit: int) -> list[list[Document]]:
    """Return the groups of documents that share the key of an index, those of the first users first."""
    groups = await database[name].aggregate(
        [
            {"$match": dict(index.only or {})},
            {
                "$group": {
                    "_id": {field: f"${field}" for field in index.keys},
                    "documents": {"$push": "$$ROOT"},
                    "count": {"$sum": 1},
                }
            },
            {"$match": {"count": {"$gt": 1}}},
            {"$sort": {"_id": 1}},
            {"$limit": limit},
        ],
        allowDiskUse=True,
    )
    return [sorted(group["documents"], key=lambda each: str(each["_id"])) async for group in groups]


def name_all(index: Index, documents: list[Document]) -> str:
    """Name a group: what its documents share, and each of them."""
    shared = ", ".join(f"{field} {documents[0][field]}" for field in index.keys)
    return f"{shared}: " + ", ".join(_name(document) for document in documents)


def _name(document: Document) -> str:
    told: dict[str, Any] = {field: document[field] for field in ("status", "attempt", "sum") if field in document}
    return f"{document['_id']} ({', '.join(f'{field} {value}' for field, value in told.items())})"


async def describe(database: AsyncDatabase[Document], wanted: Collection, index: Index) -> str:
    """Return why an index cannot be unique yet, and what to do."""
    groups = await find(database, wanted.name, index, _MOST_NAMED + 1)
    lines = [f"  {name_all(index, documents)}" for documents in groups[:_MOST_NAMED]]
    if len(groups) > _MOST_NAMED:
        lines.append("  and more")
    return "\n".join(
        [
            f"{database.name}.{wanted.name} has no unique index {index.name}, for there are duplicates:",
            *lines,
            f"Run `python -m shop.setup --mend {wanted.service}`; it removes those on which no money hangs.",
        ]
    )
