"""Nothing is done before the indexes are there, and a process has one epoch for all of its life."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from bson import Int64
from pymongo.errors import PyMongoError

from shop.errors import Code, Unavailable
from shop.setup import setup
from shop.state import SERVICES
from shop.store import readiness
from shop.store.client import client, collection, deadline
from shop.store.readiness import Epoch
from tests.support.commands import counted

RESTORED_AT = datetime(2026, 11, 26, 20, tzinfo=UTC)


async def raise_epoch(service: str, number: int = 1) -> None:
    await collection(service, "meta").replace_one(
        {"_id": "epoch"}, {"_id": "epoch", "epoch": Int64(number), "restored_at": RESTORED_AT}, upsert=True
    )


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("service", "missing"),
    [
        ("orders", "baskets.user_number, baskets.resend_at_ordered"),
        ("billing", "paid_baskets.user_basket, paid_baskets.user_position, deposits.user_key, deposits.user_position"),
        ("notify", "notifications.user_recorded_at, notifications.recorded_at"),
    ],
)
async def test_before_setup_a_service_is_not_ready_and_says_what_to_run(service: str, missing: str) -> None:
    """Each index is named, and the command that makes them; a repeat is not asked for, as it would not help."""
    with pytest.raises(Unavailable) as refused:
        await readiness.ready(service)
    text = f"{service} is not set up: it has no index {missing}. Run `python -m shop.setup`; nothing is done until then"
    assert str(refused.value) == text
    assert refused.value.code is Code.NOT_SET_UP
    assert await readiness.problem(service, 5) == text


@pytest.mark.usefixtures("empty")
async def test_once_setup_has_run_the_same_process_is_ready() -> None:
    """A missing index is looked for each time, and nothing has to be started again."""
    for service in SERVICES:
        with pytest.raises(Unavailable):
            await readiness.ready(service)
    await setup()
    for service in SERVICES:
        assert await readiness.problem(service, 5) is None
        assert await readiness.ready(service) == Epoch(0, None)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("service", "name", "index"),
    [
        ("orders", "baskets", "user_number"),
        ("orders", "baskets", "resend_at_ordered"),
        ("billing", "paid_baskets", "user_basket"),
        ("billing", "paid_baskets", "user_position"),
        ("billing", "deposits", "user_key"),
        ("billing", "deposits", "user_position"),
        ("notify", "notifications", "user_recorded_at"),
        ("notify", "notifications", "recorded_at"),
    ],
)
async def test_each_index_counts(service: str, name: str, index: str) -> None:
    """One that somebody dropped is missed by a process that starts afterwards."""
    await setup()
    await collection(service, name).drop_index(index)
    with pytest.raises(Unavailable, match=rf"no index {name}\.{index}\."):
        await readiness.ready(service)


@pytest.mark.usefixtures("empty")
async def test_an_index_that_is_not_unique_is_not_the_index() -> None:
    """The same fields under the same name are not enough; under another name they are."""
    await setup(("orders",))
    baskets = collection("orders", "baskets")
    await baskets.drop_index("user_number")
    await baskets.create_index([("user", 1), ("number", 1)], name="user_number")
    assert "baskets.user_number" in str(await readiness.problem("orders", 5))
    await baskets.drop_index("user_number")
    await baskets.create_index([("user", 1), ("number", 1)], name="by_hand", unique=True)
    assert await readiness.problem("orders", 5) is None


@pytest.mark.usefixtures("empty")
async def test_an_index_that_is_being_built_is_not_there_yet() -> None:
    """It would refuse nothing: two baskets of one number could be made until it is complete."""
    point, command = "hangAfterStartingIndexBuild", client().admin.command
    await collection("orders", "baskets").insert_one({"user": "Pavel", "number": Int64(1)})
    await command({"configureFailPoint": point, "mode": "alwaysOn"})
    building = asyncio.create_task(setup(("orders",)))
    try:
        await command({"waitForFailPoint": point, "timesEntered": 1, "maxTimeMS": 10_000})
        assert "baskets.user_number" in str(await readiness.problem("orders", 5))
    finally:
        await command({"configureFailPoint": point, "mode": "off"})
        await building
    assert await readiness.problem("orders", 5) is None


@pytest.mark.usefixtures("empty")
async def test_the_epoch_is_the_one_of_the_first_look(configure: Callable[..., None]) -> None:
    """A process that is left over from before a restore goes on saying so; one that starts afterwards says the new."""
    await setup()
    await raise_epoch("orders")
    assert await readiness.ready("orders") == Epoch(1, RESTORED_AT)
    assert await readiness.ready("billing") == Epoch(0, None)
    await raise_epoch("orders", 2)
    assert (await readiness.ready("orders")).number == 1
    configure()
    assert (await readiness.ready("orders")).number == 2


@pytest.mark.usefixtures("empty")
async def test_calls_at_once_agree_on_the_epoch_though_it_rises_meanwhile() -> None:
    """A process speaks with one voice, whoever looked first."""
    await setup(("orders",))
    looks = [asyncio.create_task(readiness.ready("orders")) for _ in range(20)]
    await raise_epoch("orders")
    assert len({epoch.number for epoch in await asyncio.gather(*looks)}) == 1


@pytest.mark.usefixtures("empty")
async def test_a_ready_process_asks_mongodb_nothing_more() -> None:
    """What every request calls costs a round trip once: the indexes, and the epoch as it is confirmed to be."""
    await setup(("orders",))
    async with counted() as commands:
        await readiness.ready("orders")
        assert commands.names == ["listIndexes", "find"]
        assert commands.sent[1]["filter"] == {"_id": "epoch"}
        assert commands.sent[1]["readConcern"] == {"level": "linearizable"}
        await readiness.ready("orders")
        await readiness.problem("orders", 1)
        assert len(commands.names) == 2


async def test_while_mongodb_is_away_health_is_good_and_requests_are_unknown(configure: Callable[..., None]) -> None:
    """A function starts, and stays ready for Knative, while MongoDB is down; the look does not hold it up."""
    configure(mongodb_uri="mongodb://127.0.0.1:9/?directConnection=true")
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await readiness.problem("orders", 0.2) is None
    assert loop.time() - started < 2
    with pytest.raises(PyMongoError), deadline(0.2):
        await readiness.ready("orders")
