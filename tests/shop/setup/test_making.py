"""shop.setup makes the collections that the protocol rests on: beside functions, beside itself, and whole."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient, monitoring
from pymongo.errors import DuplicateKeyError, PyMongoError, WriteError

from shop.process import process
from shop.process.process import Process
from shop.setup import COLLECTIONS, NotSetUp, making, setup
from shop.setup.databases import how_to_connect
from shop.state import SERVICES
from shop.store import readiness
from shop.store.client import Document, client, collection, database, open_client

AT = datetime(2026, 11, 26, 20, tzinfo=UTC)
BASKET = ObjectId("66f0c1d2e3a4b5c6d7e8f901")

PAID = {"number": Int64(1), "basket": BASKET, "attempt": Int64(1), "sum": Int64(10), "paid_at": AT}
DECLINED = {k: v for k, v in PAID.items() if k != "paid_at"} | {"reason": "insufficient funds", "decided_at": AT}
DEPOSIT = {"key": "7f9c", "sum": Int64(10), "at": AT}

VALID: dict[tuple[str, str], dict[str, Any]] = {
    ("orders", "baskets"): {
        "_id": BASKET,
        "user": "Pavel",
        "number": Int64(1),
        "status": "ordered",
        "attempt": Int64(1),
        "sum": Int64(10),
        "ordered_at": AT,
        "resend_at": AT,
        "request": ObjectId(),
        "decided_at": AT,
        "reason": "insufficient funds",
    },
    ("billing", "users"): {
        "_id": "Pavel",
        "balance": Int64(0),
        "paid_baskets": [{**PAID, "epoch": Int64(1)}, PAID],
        "archived_through": Int64(32),
        "declined": {**DECLINED, "epoch": Int64(1)},
        "deposits": [DEPOSIT, {**DEPOSIT, "key": ObjectId()}],
        "archived": {"paid": Int64(9), "paid_baskets": Int64(3), "deposited": Int64(9), "deposits": Int64(3)},
    },
    ("billing", "paid_baskets"): {
        "user": "Pavel",
        **PAID,
        "epoch": Int64(1),
        "position": Int64(1),
        "through": Int64(9),
    },
    ("billing", "deposits"): {"user": "Pavel", **DEPOSIT, "epoch": Int64(1), "position": Int64(1), "through": Int64(9)},
    ("notify", "notifications"): {
        "_id": f"{BASKET}.1",
        "user": "Pavel",
        "basket": BASKET,
        "attempt": Int64(1),
        "sum": Int64(10),
        "outcome": "paid",
        "reason": "",
        "decided_at": AT,
        "recorded_at": AT,
    },
    ("orders", "meta"): {"_id": "epoch", "epoch": Int64(1), "restored_at": AT},
    ("billing", "meta"): {"_id": "epoch", "epoch": Int64(1), "restored_at": AT},
    ("notify", "meta"): {"_id": "epoch", "epoch": Int64(1), "restored_at": AT},
    ("orders", "actions"): {
        "_id": ObjectId(),
        "at": AT,
        "who": "Ann",
        "verb": "verify",
        "why": "",
        "about": ["Pavel"],
        "outcome": "0 problems",
        "problems": Int64(0),
    },
}
"""A document of each collection with every field that it may have."""

OPTIONAL: dict[str, set[str]] = {
    "baskets": {"sum", "ordered_at", "resend_at", "request", "decided_at", "reason"},
    "users": {"balance", "paid_baskets", "archived_through", "declined", "deposits", "archived"},
    "paid_baskets": {"epoch", "position", "through", "_id"},
    "deposits": {"epoch", "position", "through", "_id"},
    "actions": {"problems"},
}
"""What a document may go without; a stub has no balance, what was before a restore no epoch."""


def wrong(value: object) -> list[object]:
    """Return values that may not stand in a field's place: of another type, and the one below the smallest."""
    match value:
        case Int64():
            return [1, 1.0, "1", None]
        case datetime():
            return ["2026-11-26T20:00:00Z", Int64(1)]
        case ObjectId():
            return [str(value), Int64(1)]
        case str():
            return [Int64(1), None]
        case list():
            return [{}, "x"]
        case dict():
            return [[], "x"]
    raise AssertionError(value)


SMALLEST = {
    "balance": 0,
    "attempt": 1,
    "number": 1,
    "sum": 1,
    "epoch": 1,
    "position": 1,
    "through": 1,
    "archived_through": 1,
}

REFUSED = [
    *(
        (place, (field,), value)
        for place, document in VALID.items()
        for field, valid in document.items()
        for value in [*wrong(valid), *([Int64(SMALLEST[field] - 1)] if field in SMALLEST else [])]
        if (place, field) != (("orders", "baskets"), "attempt") or value != Int64(0)  # an open basket's
        if not (place[1] == "deposits" and field == "key" and isinstance(value, ObjectId))
    ),
    (("orders", "baskets"), ("attempt",), Int64(-1)),
    (("orders", "baskets"), ("status",), "shipped"),
    (("notify", "notifications"), ("outcome",), "ordered"),
    *(((service, "meta"), ("_id",), "another") for service in SERVICES),
    *(
        (("billing", "users"), (array, 0, field), value)
        for array, entry in (("paid_baskets", {**PAID, "epoch": Int64(1)}), ("deposits", DEPOSIT))
        for field, valid in entry.items()
        for value in [*wrong(valid), *([Int64(0)] if isinstance(valid, Int64) else [])]
    ),
    *(
        (("billing", "users"), ("declined", field), value)
        for field, valid in {**DECLINED, "epoch": Int64(1)}.items()
        for value in [*wrong(valid), *([Int64(0)] if isinstance(valid, Int64) else [])]
    ),
    *(
        (("billing", "users"), ("archived", field), value)
        for field in ("paid", "paid_baskets", "deposited", "deposits")
        for value in wrong(Int64(1))
    ),
]


def changed(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    """Return a document with another value at a path."""
    if not path:
        return value
    step, *rest = path
    copy = document.copy()
    copy[step] = changed(document[step], tuple(rest), value)
    return copy


def without(document: Any, path: tuple[str | int, ...]) -> Any:
    """Return a document without what is at a path."""
    step, *rest = path
    copy = document.copy()
    if rest:
        copy[step] = without(document[step], tuple(rest))
    else:
        del copy[step]
    return copy


@pytest.mark.parametrize("place", VALID)
async def test_what_functions_write_is_taken(shop: None, place: tuple[str, str]) -> None:
    """With all fields, and with only those that it must have."""
    service, name = place
    documents = collection(service, name)
    await documents.insert_one(VALID[place])
    await documents.delete_many({})
    least = {field: value for field, value in VALID[place].items() if field not in OPTIONAL.get(name, set())}
    await documents.insert_one(least)


MISSING = [
    *(
        (place, (field,))
        for place, document in VALID.items()
        for field in document
        if field not in OPTIONAL.get(place[1], set()) and field != "_id"
    ),
    *((("billing", "users"), ("paid_baskets", 0, field)) for field in PAID),
    *((("billing", "users"), ("deposits", 0, field)) for field in DEPOSIT),
    *((("billing", "users"), ("declined", field)) for field in DECLINED),
]


async def taken(place: tuple[str, str], document: dict[str, Any]) -> bool:
    """Tell whether MongoDB takes a document."""
    service, name = place
    try:
        await collection(service, name).insert_one(document)
    except WriteError as error:
        return error.code != 121
    return True


@pytest.mark.parametrize("place", VALID)
async def test_each_rule_of_the_validators_holds(shop: None, place: tuple[str, str]) -> None:
    """A value of another type, below the smallest, or that is none of those there are, is refused in every field."""
    wrongly = [
        f"{path} = {value!r}"
        for where, path, value in REFUSED
        if where == place and await taken(place, changed(VALID[place], path, value))
    ]
    assert wrongly == []
    assert sum(where == place for where, _, _ in REFUSED) >= 6


@pytest.mark.parametrize("place", VALID)
async def test_a_document_without_a_field_that_it_must_have_is_refused(shop: None, place: tuple[str, str]) -> None:
    """Each of them, in each array too."""
    wrongly = [
        str(path) for where, path in MISSING if where == place and await taken(place, without(VALID[place], path))
    ]
    assert wrongly == []
    assert any(where == place for where, _ in MISSING)


@pytest.mark.parametrize(
    ("service", "name", "index", "key"),
    [
        ("orders", "baskets", "user_number", {"user": "Pavel", "number": Int64(1)}),
        ("billing", "paid_baskets", "user_basket", {"user": "Pavel", "basket": BASKET}),
        ("billing", "deposits", "user_key", {"user": "Pavel", "key": "7f9c"}),
    ],
)
async def test_the_unique_indexes_are_there_and_unique(
    shop: None, service: str, name: str, index: str, key: dict[str, object]
) -> None:
    """The second document of a key is refused, whoever writes it; one of another user or key is not."""
    documents = collection(service, name)
    first = {field: value for field, value in VALID[service, name].items() if field != "_id"} | key
    await documents.insert_one({**first, "_id": ObjectId()})
    with pytest.raises(DuplicateKeyError, match=index):
        await documents.insert_one({**first, "_id": ObjectId()})
    await documents.insert_one({**first, "_id": ObjectId(), "user": "Olga"})
    other = {"number": Int64(2), "basket": ObjectId(), "key": "8a0d"}
    await documents.insert_one({**first, "_id": ObjectId(), **{f: v for f, v in other.items() if f in key}})


async def test_positions_are_found_by_an_index_and_may_meet(shop: None) -> None:
    """One lookup tells whether an archive is whole; a move that broke off, or a function of before, fails nothing."""
    archive = collection("billing", "deposits")
    for key, position in (("a", {"position": Int64(1)}), ("b", {"position": Int64(1)}), ("c", {}), ("d", {})):
        await archive.insert_one({"user": "Pavel", **DEPOSIT, "key": key, **position})
    plan = await archive.find({"user": "Pavel", "position": Int64(1)}).explain()
    assert plan["queryPlanner"]["winningPlan"]["inputStage"]["indexName"] == "user_position"


# --- again, at once, beside functions --------------------------------------------------------------------------------


class Changes(monitoring.CommandListener):
    """The commands sent that change a collection or its indexes."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Remember one."""
        if event.command_name in ("create", "collMod", "createIndexes", "dropIndexes", "drop"):
            self.sent.append(f"{event.command_name} {event.command[event.command_name]}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to do."""


@pytest.fixture
def changes(empty: None) -> Iterator[Changes]:
    """Watch what setup changes."""
    watching = Changes()

    def watched(uri: str) -> AsyncMongoClient[Document]:
        return AsyncMongoClient(uri, event_listeners=[watching], tz_aware=True)

    before = process.current()
    process.use(Process(before.settings, {open_client: client(), how_to_connect: watched}))
    yield watching
    process.use(before)


async def described() -> dict[str, Any]:
    """Return all collections with their options, indexes and documents."""
    return {
        f"{wanted.service}.{wanted.name}": (
            [listed async for listed in await database(wanted.service).list_collections(filter={"name": wanted.name})],
            await collection(wanted.service, wanted.name).index_information(),
            await collection(wanted.service, wanted.name).find().to_list(),
        )
        for wanted in COLLECTIONS
    }


@pytest.mark.usefixtures("empty")
async def test_a_second_setup_keeps_everything_and_changes_nothing(changes: Changes) -> None:
    """Documents, validators and indexes are the same ones, and nothing was locked to find that out."""
    await setup()
    assert len(changes.sent) == len(COLLECTIONS) + sum(len(wanted.indexes) for wanted in COLLECTIONS)
    for (service, name), document in VALID.items():
        await collection(service, name).insert_one(dict(document))
    before = await described()
    changes.sent.clear()
    await setup()
    assert changes.sent == []
    assert await described() == before
    assert {place: len(found[2]) for place, found in before.items()} == {f"{s}.{n}": 1 for s, n in VALID}


@pytest.mark.usefixtures("empty")
async def test_a_validator_of_before_is_brought_up_to_date(changes: Changes) -> None:
    """Whatever an older version, or a hand, made of it; nothing else is touched."""
    await setup()
    billing = database("billing")
    await billing.command("collMod", "users", validator={"balance": {"$gte": 0}})
    await billing.command("collMod", "deposits", validationAction="warn")
    await billing.command("collMod", "paid_baskets", validationLevel="off")
    changes.sent.clear()
    await setup()
    assert sorted(changes.sent) == ["collMod deposits", "collMod paid_baskets", "collMod users"]
    for name in ("users", "deposits", "paid_baskets"):
        with pytest.raises(WriteError):
            await collection("billing", name).insert_one({"_id": 1, "balance": 1})


@pytest.mark.usefixtures("empty")
async def test_only_the_services_named_are_set_up() -> None:
    """Each may have its MongoDB, and its own user at it."""
    await setup(("notify",))
    assert await database("orders").list_collection_names() == []
    assert await database("billing").list_collection_names() == []
    assert sorted(await database("notify").list_collection_names()) == ["meta", "notifications"]


@pytest.mark.usefixtures("empty")
async def test_eight_setups_at_once_all_succeed(configure: Callable[..., None]) -> None:
    """Each finds made what another one made between its look and its try."""
    for _ in range(5):
        for service in SERVICES:
            await client().drop_database(service)
        await asyncio.gather(*(setup() for _ in range(8)))
        for service in SERVICES:
            assert await readiness.problem(service, 5) is None
        configure()


@pytest.fixture
async def writing() -> AsyncIterator[None]:
    """Write to collections all the while, as functions of before do when they are deployed before setup."""

    async def write(service: str, name: str) -> None:
        with suppress(PyMongoError):  # the database is dropped, or the validator there
            await collection(service, name).insert_one({**VALID[service, name], "_id": ObjectId(), "user": "x"})
            await collection(service, name).delete_many({"user": "x"})

    async def for_ever(service: str, name: str) -> None:
        while True:
            await write(service, name)

    places = [("orders", "baskets"), ("billing", "deposits"), ("billing", "paid_baskets")]
    writers = [asyncio.create_task(for_ever(*place)) for place in places]
    yield
    for writer in writers:
        writer.cancel()
    await asyncio.gather(*writers, return_exceptions=True)


@pytest.mark.usefixtures("empty", "writing")
async def test_setup_succeeds_beside_functions() -> None:
    """Their first writes make collections without validators, before setup, in the middle of it, and after."""
    for _ in range(8):
        for service in SERVICES:
            await client().drop_database(service)
        await setup()


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("code", making._PASSES)
async def test_what_passes_is_tried_again(code: int) -> None:
    """Each refusal that comes from what somebody else is doing at this moment."""
    fail = {"failCommands": ["create", "createIndexes"], "errorCode": code, "appName": "shop.setup"}
    await client().admin.command({"configureFailPoint": "failCommand", "mode": {"times": 3}, "data": fail})
    await setup(("orders",))
    assert await readiness.problem("orders", 5) is None


@pytest.mark.usefixtures("empty")
async def test_what_does_not_pass_ends_and_says_where(configure: Callable[..., None]) -> None:
    """Tries are bounded; what is no matter of time is not tried again at all."""
    impatient = Process(process.current().settings, patience=0.001)
    for code, tries in ((112, making._TRIES), (13, 1)):
        fail = {"failCommands": ["createIndexes"], "errorCode": code, "appName": "shop.setup"}
        point = {"configureFailPoint": "failCommand", "mode": {"times": tries}, "data": fail}
        await client().admin.command(point)
        with process.running(impatient), pytest.raises(NotSetUp, match=r"orders\.baskets has no index user_number"):
            await setup(("orders",))
        assert await readiness.problem("orders", 5) is not None
        await setup(("orders",))
        await collection("orders", "baskets").drop_indexes()
        configure()


# --- when something is wrong -----------------------------------------------------------------------------------------


def basket(number: int, user: str = "Pavel", **fields: object) -> dict[str, Any]:
    return {
        "_id": ObjectId(),
        "user": user,
        "number": Int64(number),
        "status": "open",
        "attempt": Int64(0),
        **fields,
    }


@pytest.mark.usefixtures("empty")
async def test_duplicates_are_named_and_everything_else_is_set_up() -> None:
    """The user, the number and each of the baskets; billing and notify, and the other index, are not left out."""
    twice = [basket(3), basket(3, status="ordered", attempt=Int64(1), sum=Int64(10))]
    fine = [basket(1), basket(2), basket(3, user="Olga")]
    await collection("orders", "baskets").insert_many([*fine, *twice])
    with pytest.raises(NotSetUp) as refused:
        await setup()
    assert str(refused.value) == (
        "orders.baskets has no unique index user_number, for there are duplicates:\n"
        f"  user Pavel, number 3: {twice[0]['_id']} (status open, attempt 0), "
        f"{twice[1]['_id']} (status ordered, attempt 1, sum 10)\n"
        "Run `python -m shop.setup --mend orders`; it removes those on which no money hangs."
    )
    assert await readiness.problem("billing", 5) is None
    assert await readiness.problem("notify", 5) is None
    problem = await readiness.problem("orders", 5)
    assert problem is not None
    assert "no index baskets.user_number." in problem


@pytest.mark.usefixtures("empty")
async def test_many_duplicates_are_not_all_named() -> None:
    """The first twenty, and that there are more."""
    await collection("orders", "baskets").insert_many(basket(1, user=f"{n // 2:03}") for n in range(100))
    with pytest.raises(NotSetUp) as refused:
        await setup()
    lines = str(refused.value).splitlines()
    assert len(lines) == 1 + 20 + 1 + 1
    assert lines[-2] == "  and more"
    assert lines[1].startswith("  user 000, number 1:")
    assert lines[20].startswith("  user 019, number 1:")


@pytest.mark.usefixtures("empty")
async def test_an_index_with_other_options_is_named() -> None:
    """MongoDB would not change it; setup does not drop what a hand has made."""
    await collection("orders", "baskets").create_index([("user", 1), ("number", 1)], name="user_number")
    with pytest.raises(NotSetUp, match=r"orders\.baskets has no index user_number: "):
        await setup()
    assert await readiness.problem("billing", 5) is None


@pytest.mark.usefixtures("empty")
async def test_each_service_may_have_a_mongodb_of_its_own(
    configure: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """One that does not answer is named once, and the others are set up."""
    caplog.set_level(logging.INFO, "shop.setup")
    away = "mongodb://127.0.0.1:9/?directConnection=true&serverSelectionTimeoutMS=200"
    configure(mongodb_uris={"billing": away})
    with pytest.raises(NotSetUp) as refused:
        await setup()
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith("billing: 127.0.0.1:9")
    assert await readiness.problem("orders", 5) is None
    assert await readiness.problem("notify", 5) is None
    assert await database("billing").list_collection_names() == []
    assert "notify.notifications is set up" in caplog.text
    assert "billing." not in caplog.text
