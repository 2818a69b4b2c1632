"""What MongoDB itself refuses, whoever writes it: each bound of a validator, and each unique index."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo.errors import DuplicateKeyError, WriteError

from shop import mongo
from shop.setup import setup
from shop.state import COLLECTIONS

pytestmark = pytest.mark.usefixtures("shop")

AT = datetime(2026, 11, 26, tzinfo=UTC)
ONE = Int64(1)
BASKET = ObjectId("66f0c1d2e3a4b5c6d7e8f901")
DECISION = {"number": ONE, "basket": BASKET, "attempt": ONE, "sum": ONE}
PAID = {**DECISION, "paid_at": AT}
DEPOSIT = {"key": "k", "sum": ONE, "at": AT}

SOUND: dict[str, dict[str, Any]] = {
    "orders.baskets": {
        "_id": BASKET,
        "user": "Pavel",
        "number": ONE,
        "status": "ordered",
        "attempt": ONE,
        "sum": ONE,
        "ordered_at": AT,
        "resend_at": AT,
        "request": ObjectId(),
        "decided_at": AT,
        "reason": "why",
    },
    "billing.users": {
        "_id": "Pavel",
        "balance": Int64(0),
        "paid_baskets": [{**PAID, "epoch": ONE}],
        "archived_through": ONE,
        "deposits": [DEPOSIT],
        "declined": {**DECISION, "reason": "why", "decided_at": AT, "epoch": ONE},
        "archived": {"paid": ONE, "paid_baskets": ONE, "deposited": ONE, "deposits": ONE},
    },
    "billing.paid_baskets": {"user": "Pavel", **PAID, "epoch": ONE, "position": ONE},
    "billing.deposits": {"user": "Pavel", **DEPOSIT, "position": ONE},
    "notify.notifications": {
        "_id": f"{BASKET}.1",
        "user": "Pavel",
        "basket": BASKET,
        "attempt": ONE,
        "sum": ONE,
        "outcome": "paid",
        "reason": "",
        "decided_at": AT,
        "recorded_at": AT,
    },
    "orders.meta": {"_id": "epoch", "epoch": ONE, "restored_at": AT},
    "billing.meta": {"_id": "epoch", "epoch": ONE, "restored_at": AT},
    "notify.meta": {"_id": "epoch", "epoch": ONE, "restored_at": AT},
}
"""A document of each collection with every field that it can have."""


def collection(name: str) -> Any:
    return mongo.collection(*name.split("."))


def damaged(document: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return the document with another value at a path, or without it for None."""
    name, _, rest = path.partition(".")
    if rest:
        inner = document[name]
        changed = [damaged(each, rest, value) for each in inner] if isinstance(inner, list) else None
        return {**document, name: changed or damaged(inner, rest, value)}
    without = {key: each for key, each in document.items() if key != name}
    return without if value is None else {**without, name: value}


def paths(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return every field of a document with its value, those inside too."""
    found: list[tuple[str, Any]] = []
    for name, value in document.items():
        inside = value[0] if isinstance(value, list) else value
        found.append((prefix + name, value))
        if isinstance(inside, dict):
            found += paths(inside, f"{prefix}{name}.")
    return found


def test_a_sound_document_of_each_collection_is_tried() -> None:
    """None is left out."""
    assert SOUND.keys() == {f"{each.service}.{each.name}" for each in COLLECTIONS}


@pytest.mark.parametrize("name", SOUND)
async def test_what_the_functions_write_is_taken(name: str) -> None:
    """Every field that a document can have, at its smallest."""
    await collection(name).insert_one(dict(SOUND[name]))


TYPED = [(name, path) for name, document in SOUND.items() for path, _ in paths(document)]


@pytest.mark.parametrize(("name", "path"), TYPED)
async def test_a_field_of_another_type_is_refused(name: str, path: str) -> None:
    """A number that became a double or an int32, a time that is text, an id that is not one."""
    with pytest.raises(WriteError):
        await collection(name).insert_one(damaged(SOUND[name], path, 1.5))


SMALLEST = [
    (name, path, value)
    for name, document in SOUND.items()
    for path, value in paths(document)
    if isinstance(value, Int64) and not path.startswith("archived.")
]


@pytest.mark.parametrize(("name", "path", "value"), SMALLEST)
async def test_a_number_below_its_smallest_is_refused(name: str, path: str, value: int) -> None:
    """Sums, numbers, attempts of a decision, positions and epochs are at least 1; a balance is never negative."""
    below = Int64(-1) if (name, path) == ("orders.baskets", "attempt") else Int64(value - 1)
    with pytest.raises(WriteError):
        await collection(name).insert_one(damaged(SOUND[name], path, below))


REQUIRED = {
    "orders.baskets": ("user", "number", "status", "attempt"),
    "billing.users": (
        *(f"paid_baskets.{field}" for field in PAID),
        *(f"declined.{field}" for field in (*DECISION, "reason", "decided_at")),
        *(f"deposits.{field}" for field in DEPOSIT),
    ),
    "billing.paid_baskets": ("user", *PAID),
    "billing.deposits": ("user", *DEPOSIT),
    "notify.notifications": tuple(field for field in SOUND["notify.notifications"] if field != "_id"),
    "orders.meta": ("epoch", "restored_at"),
}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, fields in REQUIRED.items() for path in fields])
async def test_a_document_without_what_it_must_have_is_refused(name: str, path: str) -> None:
    """A basket without a number would be another user's first; an entry without a sum could not be added up."""
    with pytest.raises(WriteError):
        await collection(name).insert_one(damaged(SOUND[name], path, None))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("orders.baskets", "status", "shipped"),
        ("notify.notifications", "outcome", "PAID"),
        ("orders.meta", "_id", "epochs"),
    ],
)
async def test_a_word_that_nobody_knows_is_refused(name: str, path: str, value: str) -> None:
    """Three statuses, two outcomes, one document of a restore."""
    with pytest.raises(WriteError):
        await collection(name).insert_one(damaged(SOUND[name], path, value))


@pytest.mark.parametrize(
    ("name", "key", "others"),
    [
        ("orders.baskets", ("user", "number"), {"status": "open"}),
        ("billing.paid_baskets", ("user", "basket"), {"number": Int64(2)}),
        ("billing.deposits", ("user", "key"), {"sum": Int64(2)}),
    ],
)
async def test_a_second_one_of_a_key_is_refused(name: str, key: tuple[str, str], others: Mapping[str, object]) -> None:
    """Whatever else it says; for another user, or another of this user's, it is taken."""
    first = damaged(SOUND[name], "_id", ObjectId())
    again = {**damaged(first, "_id", ObjectId()), **others}
    await collection(name).insert_one(first)
    with pytest.raises(DuplicateKeyError):
        await collection(name).insert_one(again)
    await collection(name).insert_one({**again, "_id": ObjectId(), "user": "Павел"})
    other = {"number": Int64(7), "basket": ObjectId(), "key": "other"}[key[1]]
    await collection(name).insert_one({**again, "_id": ObjectId(), key[1]: other})


async def test_resend_looks_at_what_is_on_its_way_alone() -> None:
    """Its index holds the ordered baskets: years of paid ones cost it nothing."""
    indexes = await collection("orders.baskets").index_information()
    assert indexes["resend_at_ordered"]["partialFilterExpression"] == {"status": "ordered"}


async def test_setup_brings_an_old_validator_up_to_date() -> None:
    """An update of the shop that knows a new field, or a new bound, runs it again."""
    await mongo.database("billing").command("collMod", "users", validator={})
    await setup(("billing",))
    with pytest.raises(WriteError):
        await collection("billing.users").insert_one({"_id": "Pavel", "balance": Int64(-1)})
