"""The validators that shop.state reads off its types are those that databases out there have."""

import json
from pathlib import Path
from typing import Any

import pytest
from bson import json_util

from shop.state import COLLECTIONS, Collection

RECORDED = Path(__file__).parents[2] / "proof" / "upgrade" / "collections.ndjson"

BEFORE: dict[str, dict[str, Any]] = {
    line["in"]: json_util.loads(json.dumps(line["options"]["validator"]["$jsonSchema"]))
    for line in map(json.loads, RECORDED.read_text(encoding="utf-8").splitlines())
}
"""What 67d5614 set up, by place."""

COUNT = {"bsonType": "long", "minimum": 1}
POSITION = {"epoch": COUNT, "position": COUNT, "through": COUNT}

META = {
    "bsonType": "object",
    "properties": {"_id": {"enum": ["epoch"]}, "epoch": COUNT, "restored_at": {"bsonType": "date"}},
    "required": ["_id", "epoch", "restored_at"],
}

DATE = {"bsonType": "date"}
TEXT = {"bsonType": "string"}
ACTION = {
    "bsonType": "object",
    "properties": {
        "_id": {"bsonType": "objectId"},
        "at": DATE,
        **dict.fromkeys(("who", "verb", "why"), TEXT),
        "about": {"bsonType": "array", "items": TEXT},
        "outcome": TEXT,
        "problems": {"bsonType": "long"},
    },
    "required": ["_id", "at", "who", "verb", "why", "about", "outcome"],
}
DECLINE = {
    "bsonType": "object",
    "properties": {
        "sum": COUNT,
        "attempt": COUNT,
        "reason": {"bsonType": "string"},
        "ordered_at": DATE,
        "decided_at": DATE,
        "settled_at": DATE,
        "traceparent": {"bsonType": "string", "maxLength": 55},
    },
    "required": ["sum", "attempt"],
}

ADDED: dict[str, list[tuple[tuple[str, ...], dict[str, Any]]]] = {
    "orders.baskets": [
        (
            (),
            {
                "settled_at": DATE,
                "traceparent": {"bsonType": "string", "maxLength": 55},
                "declines": {"bsonType": "array", "items": DECLINE},
            },
        )
    ],
    "billing.users": [
        (("paid_baskets", "items"), {"epoch": COUNT}),
        (("declined",), {"epoch": COUNT}),
        (("archived",), {"paid_baskets": {"bsonType": "long"}}),
    ],
    "billing.paid_baskets": [((), POSITION)],
    "billing.deposits": [((), POSITION)],
}
"""What came since: where, and which fields. None of them is required, for documents of before have none."""


def expected(place: str) -> dict[str, Any]:
    """Return the validator of a collection: that of 67d5614, with what came since."""
    if place.endswith(".meta"):
        return META
    if place == "orders.actions":
        return ACTION
    whole = BEFORE[place]
    for path, fields in ADDED.get(place, []):
        schema = whole
        for name in path:
            schema = schema["items"] if name == "items" else schema["properties"][name]
        schema["properties"] |= fields
    return whole


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda each: f"{each.service}.{each.name}")
def test_a_validator_is_that_of_before_and_what_was_added_since(collection: Collection) -> None:
    """A type that changes changes what MongoDB refuses, of documents that are there already, too."""
    assert collection.schema == expected(f"{collection.service}.{collection.name}")
