"""Say what MongoDB holds: the collections, what their documents look like, and the indexes that the protocol rests on.

Written here once: `shop.setup` makes them, `shop.store.readiness` looks whether they are there. The validators are the
last line: whatever a bug or a hand writes, a balance is a whole number and never negative. The three services share no
collection; each has a `meta`, which holds the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EPOCH_ID = "epoch"
"""The `_id` of the one document of each service's `meta`; without it the epoch is 0."""

_LONG = {"bsonType": "long"}
_DATE = {"bsonType": "date"}
_TEXT = {"bsonType": "string"}
_ID = {"bsonType": "objectId"}
_COUNT = {"bsonType": "long", "minimum": 1}


def _object(required: list[str], properties: Mapping[str, object]) -> dict[str, object]:
    schema: dict[str, object] = {"bsonType": "object", "properties": dict(properties)}
    return schema | ({"required": required} if required else {})  # MongoDB refuses an empty list


_PAID_BASKET = {"number": _COUNT, "basket": _ID, "attempt": _COUNT, "sum": _COUNT, "paid_at": _DATE}
_DECLINED = {
    "number": _COUNT,
    "basket": _ID,
    "attempt": _COUNT,
    "sum": _COUNT,
    "reason": _TEXT,
    "decided_at": _DATE,
}
_DEPOSIT = {"key": {"bsonType": ["string", "objectId"]}, "sum": _COUNT, "at": _DATE}

# Only what was decided after a restore has an epoch, and archives of before positions existed have none.
_EPOCH = {"epoch": _COUNT}
_POSITION = {"position": _COUNT, "through": _COUNT}


@dataclass(frozen=True)
class Index:
    """An index as it must be: the fields with 1 (ascending) or -1, as MongoDB writes it."""

    name: str
    keys: Mapping[str, int]
    unique: bool = False
    only: Mapping[str, Any] | None = None
    """What a document must be like to be in it (`partialFilterExpression`)."""


@dataclass(frozen=True)
class Collection:
    """A collection as it must be."""

    service: str
    name: str
    indexes: list[Index]
    schema: Mapping[str, Any]
    user: str | None = "user"
    """The field that holds the user, by which a large shop is sharded; None for what is not about users."""


def _meta(service: str) -> Collection:
    properties = {"_id": {"enum": [EPOCH_ID]}, "epoch": _COUNT, "restored_at": _DATE}
    return Collection(service, "meta", [], _object(list(properties), properties), user=None)


def _archive(name: str, key: str, entry: Mapping[str, Any]) -> Collection:
    """Return the archive of an array of `billing.users`."""
    return Collection(
        "billing",
        name,
        [
            Index(f"user_{key}", {"user": 1, key: 1}, unique=True),
            # Whether the archive is whole is one lookup: is the entry there whose position is the count? Not unique:
            # during a rollout functions that know no positions insert beside those that do, and after a restore an
            # archive may hold entries that the account does not count. A move must not fail over either.
            Index("user_position", {"user": 1, "position": 1}),
        ],
        _object(["user", *entry], {"user": _TEXT, **entry, **_EPOCH, **_POSITION}),
    )


COLLECTIONS = [
    Collection(
        "orders",
        "baskets",
        [
            # One basket per number: what makes any number of concurrent GetBasket calls make one.
            Index("user_number", {"user": 1, "number": 1}, unique=True),
            # What is on its way is little, whatever the history: resend looks at nothing else.
            Index("resend_at_ordered", {"resend_at": 1}, only={"status": "ordered"}),
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
                "paid_baskets": {
                    "bsonType": "array",
                    "items": _object(list(_PAID_BASKET), {**_PAID_BASKET, **_EPOCH}),
                },
                "archived_through": _COUNT,
                "declined": _object(list(_DECLINED), {**_DECLINED, **_EPOCH}),
                "deposits": {"bsonType": "array", "items": _object(list(_DEPOSIT), _DEPOSIT)},
                "archived": _object([], {"paid": _LONG, "paid_baskets": _LONG, "deposited": _LONG, "deposits": _LONG}),
            },
        ),
        user="_id",
    ),
    _archive("paid_baskets", "basket", _PAID_BASKET),
    _archive("deposits", "key", _DEPOSIT),
    Collection(
        "notify",
        "notifications",
        [
            Index("user_recorded_at", {"user": 1, "recorded_at": -1, "_id": -1}),
            Index("recorded_at", {"recorded_at": -1, "_id": -1}),
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
    *(_meta(service) for service in ("orders", "billing", "notify")),
]

SERVICES = tuple(dict.fromkeys(collection.service for collection in COLLECTIONS))


def of(service: str) -> list[Collection]:
    """Return the collections of a service."""
    return [collection for collection in COLLECTIONS if collection.service == service]
