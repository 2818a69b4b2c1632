"""Functions of 67d5614 and of today run side by side for as long as a rollout takes, and the money is right."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from local.servers.mongodb import Mongod
from proof.upgrade import books
from proof.upgrade.old_code import check_out
from proof.upgrade.rollout import Load
from proof.upgrade.served import TICK, Functions, setup
from tests.support.functions import consumers, triggered
from tests.support.sink import Sink

SERVED = sorted({"get_basket", *triggered("POST", "event", "tick")})
"""Whatever writes. What 67d5614 did not have is served by today's code alone."""

_AGAIN = 500  # events that are delivered once more when all is over


@pytest.mark.timeout(1200)  # it starts sixteen processes one by one, on a machine that may be busy
@pytest.mark.long
@pytest.mark.parametrize("mixed_s", [12, 240])
async def test_old_and_new_functions_side_by_side_keep_the_money_right(
    tmp_path: Path, mongod: Mongod, client: MongoClient[Any], mixed_s: float
) -> None:
    """Setup first, then the functions one by one, in any order, under load: each basket is charged at most once."""
    checkout = check_out(tmp_path)
    for name in ("orders", "billing", "notify"):
        client.drop_database(name)
    code, said = await setup(mongod.uri, folder=checkout)
    assert code == 0, said
    async with (
        Sink() as sink,
        Functions(mongod.uri, sink, checkout) as old,
        Functions(mongod.uri, sink) as new,
    ):
        served_by_both = [name for name in SERVED if (checkout / "functions" / name).exists()]
        await old.start(*served_by_both)
        async with Load([old, new], seed=1) as load:
            code, said = await setup(mongod.uri)  # beside the old functions, which are at work
            assert code == 0, said
            for name in SERVED:
                await new.start(name)
            begun = time.monotonic()
            while time.monotonic() - begun < mixed_s:
                await asyncio.sleep(0.5)
                await new.deliver("resend_orders", TICK, b"")
                await old.deliver("resend_orders", TICK, b"")
            for name in served_by_both:
                await old.end(name)
            await asyncio.sleep(mixed_s / 4)
        await _everything_is_decided(new, client)
        assert load.refused == []
        for version in (old, new):  # neither stood aside
            often = [name for name in served_by_both if name not in ("create_user", "resend_orders")]
            assert min(load.answered[version][name] for name in often) > 20, load.answered
        await new.start("get_order")
        for told in load.told:  # until each account was moved from once more: 67d5614 did not count what it moved
            assert (await new.deposit(told.user, 100, "last")).status == 200
            told.keyed["last"] = 100
            assert [await new.order(told.user, 1) for _ in range(4)] == ["paid"] * 4
        assert books.wrong(client) == {}
        _deposits_are_those_that_were_made(load, client)
        await _nothing_changes_any_more(load, new, client)


async def _everything_is_decided(new: Functions, client: MongoClient[Any]) -> None:
    """Ask again for what a function that ended has left ordered."""
    for _ in range(10):
        if await new.settle() == [] and not client.orders.baskets.count_documents({"status": "ordered"}):
            return
        client.orders.baskets.update_many({"status": "ordered"}, [{"$set": {"resend_at": "$$NOW"}}])
        await new.deliver("resend_orders", TICK, b"")
    raise AssertionError("orders are not decided")


def _deposits_are_those_that_were_made(load: Load, client: MongoClient[Any]) -> None:
    for told in load.told:
        account = client.billing.users.find_one({"_id": told.user})
        entries = {str(entry["key"]): entry for entry in client.billing.deposits.find({"user": told.user})}
        entries |= {str(entry["key"]): entry for entry in account["deposits"]}
        keyed = {key: entry["sum"] for key, entry in entries.items() if isinstance(entry["key"], str)}
        assert keyed == told.keyed
        keyless = len(entries) - len(keyed)
        assert told.keyless["made"] <= keyless <= told.keyless.total()
        assert told.orders > 10
        assert client.billing.paid_baskets.count_documents({"user": told.user}) > 0


async def _nothing_changes_any_more(load: Load, new: Functions, client: MongoClient[Any]) -> None:
    """Events of the rollout and all keys once more, to today's functions."""
    before = _money(client)
    chosen = random.Random(1).sample(load.history, min(len(load.history), _AGAIN))
    waiting = [(name, event) for event in chosen for name in consumers(event[0]["ce-type"])]

    async def deliver() -> None:
        while waiting:
            name, (headers, data) = waiting.pop()
            assert (await new.deliver_until_done(name, headers, data)).status == 200

    await asyncio.gather(*(deliver() for _ in range(4)))
    for told in load.told:
        for key, sum_ in told.keyed.items():
            answer = await new.deposit(told.user, sum_, key)
            assert (answer.status, answer.headers.get("Idempotent-Replayed")) == (200, "true")
    emitted = {(headers["ce-id"], data) for headers, data in new.emitted()}
    assert emitted
    assert emitted <= {(headers["ce-id"], data) for headers, data in load.history}
    assert _money(client) == before
    assert books.wrong(client) == {}


def _money(client: MongoClient[Any]) -> list[Any]:
    """Return all that must not change any more; entries may still move to the archives."""
    return [
        list(client.billing.users.find({}, {"balance": 1, "declined": 1}, sort=[("_id", 1)])),
        *(
            list(collection.find(sort=[("_id", 1)]))
            for collection in (client.orders.baskets, client.notify.notifications)
        ),
    ]
