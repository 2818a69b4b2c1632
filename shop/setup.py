"""Make collections, indexes and validators: `python -m shop.setup [orders] [billing] [notify]`, at any time again.

The unique indexes are part of the protocol: without (user, number) two baskets of one number could be made at once. The
validators are the last line: whatever a bug or a hand writes, a balance is a whole number and never negative.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import CollectionInvalid, PyMongoError

from shop import log, mongo, settings

_log = logging.getLogger(__name__)

_LONG = {"bsonType": "long"}
_DATE = {"bsonType": "date"}
_TEXT = {"bsonType": "string"}
_ID = {"bsonType": "objectId"}
_COUNT = {"bsonType": "long", "minimum": 1}


def _object(required: list[str], properties: Mapping[str, object]) -> dict[str, object]:
    schema: dict[str, object] = {"bsonType": "object", "properties": dict(properties)}
    return schema | ({"required": required} if required else {})  # MongoDB refuses an empty list


_PAID_BASKET = {"number": _COUNT, "basket": _ID, "attempt": _COUNT, "sum": _COUNT, "paid_at": _DATE}
_DEPOSIT = {"key": {"bsonType": ["string", "objectId"]}, "sum": _COUNT, "at": _DATE}


@dataclass(frozen=True)
class Collection:
    """A collection as it must be."""

    service: str
    name: str
    indexes: list[IndexModel]
    schema: Mapping[str, Any]


COLLECTIONS = [
    Collection(
        "orders",
        "baskets",
        [
            # One basket per number: what makes any number of concurrent GetBasket calls make one.
            IndexModel([("user", ASCENDING), ("number", ASCENDING)], name="user_number", unique=True),
            # What is on its way is little, whatever the history: resend looks at nothing else.
            IndexModel(
                [("resend_at", ASCENDING)], name="resend_at_ordered", partialFilterExpression={"status": "ordered"}
            ),
        ],
        _object(
            ["_id", "user", "number", "status", "attempt"],
            {
                "_id": _ID,
                "user": _TEXT,
                "number": _COUNT,
                "status": {"enum": ["open", "ordered", "paid"]},
                "attempt": {"bsonType": "long", "minimum": 0},
                "sum": _COUNT,
                "ordered_at": _DATE,
                "resend_at": _DATE,
                "request": _ID,
                "decided_at": _DATE,
                "reason": _TEXT,
            },
        ),
    ),
    Collection(
        "billing",
        "users",
        [],
        _object(
            ["_id"],
            {
                "_id": _TEXT,
                "balance": {"bsonType": "long", "minimum": 0},
                "paid_baskets": {"bsonType": "array", "items": _object(list(_PAID_BASKET), _PAID_BASKET)},
                "archived_through": _COUNT,
                "declined": _object(
                    ["number", "basket", "attempt", "sum", "reason", "decided_at"],
                    {
                        "number": _COUNT,
                        "basket": _ID,
                        "attempt": _COUNT,
                        "sum": _COUNT,
                        "reason": _TEXT,
                        "decided_at": _DATE,
                    },
                ),
                "deposits": {"bsonType": "array", "items": _object(list(_DEPOSIT), _DEPOSIT)},
                "archived": _object([], {"paid": _LONG, "deposited": _LONG, "deposits": _LONG}),
            },
        ),
    ),
    Collection(
        "billing",
        "paid_baskets",
        [IndexModel([("user", ASCENDING), ("basket", ASCENDING)], name="user_basket", unique=True)],
        _object(["user", *_PAID_BASKET], {"user": _TEXT, **_PAID_BASKET}),
    ),
    Collection(
        "billing",
        "deposits",
        [IndexModel([("user", ASCENDING), ("key", ASCENDING)], name="user_key", unique=True)],
        _object(["user", *_DEPOSIT], {"user": _TEXT, **_DEPOSIT}),
    ),
    Collection(
        "notify",
        "notifications",
        [
            IndexModel(
                [("user", ASCENDING), ("recorded_at", DESCENDING), ("_id", DESCENDING)], name="user_recorded_at"
            ),
            IndexModel([("recorded_at", DESCENDING), ("_id", DESCENDING)], name="recorded_at"),
        ],
        _object(
            ["_id", "user", "basket", "attempt", "sum", "outcome", "reason", "decided_at", "recorded_at"],
            {
                "_id": _TEXT,
                "user": _TEXT,
                "basket": _ID,
                "attempt": _COUNT,
                "sum": _COUNT,
                "outcome": {"enum": ["paid", "declined"]},
                "reason": _TEXT,
                "decided_at": _DATE,
                "recorded_at": _DATE,
            },
        ),
    ),
]

SERVICES = tuple(dict.fromkeys(collection.service for collection in COLLECTIONS))


async def setup(services: tuple[str, ...] = SERVICES) -> None:
    """Make what is missing of these services' databases, and bring the validators up to date."""
    for wanted in COLLECTIONS:
        if wanted.service in services:
            await _make(wanted)
            _log.info("%s.%s is set up", settings.database(wanted.service), wanted.name)


async def _make(wanted: Collection) -> None:
    database = mongo.database(wanted.service)
    validator = {"$jsonSchema": dict(wanted.schema)}
    try:
        await database.create_collection(wanted.name, validator=validator)
    except CollectionInvalid:  # it is there
        await database.command("collMod", wanted.name, validator=validator)
    if wanted.indexes:
        await database[wanted.name].create_indexes(wanted.indexes)


async def _main(services: tuple[str, ...]) -> None:
    try:
        await setup(services)
    except PyMongoError as error:
        sys.exit(f"MongoDB could not be set up: {error}\nIs MONGODB_URI right, and is it a replica set with a primary?")
    finally:
        await mongo.close()


def main() -> None:
    """Set up the services named, or all of them."""
    services = tuple(sys.argv[1:]) or SERVICES
    if unknown := set(services) - set(SERVICES):
        sys.exit(
            f"there is no service {', '.join(sorted(unknown))}; name some of {', '.join(SERVICES)}, or none for all"
        )
    log.to_stdout()
    asyncio.run(_main(services))


if __name__ == "__main__":
    main()
