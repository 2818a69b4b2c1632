"""Requests that come at the same time share a command, and each is told what became of its own statement."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pymongo
import pytest
from bson import Int64, ObjectId
from pymongo.errors import NetworkTimeout, PyMongoError, WriteConcernError

from local.servers.mongodb import Mongod
from shop import billing, notifications, orders
from shop.errors import Contradiction
from shop.process import process
from shop.schema.events_pb2 import PAID, PaymentDecided, PaymentRequested
from shop.schema.orders_pb2 import OrderRequest
from shop.store import shared
from shop.store.client import Document, client, collection, deadline, latest, open_client
from shop.store.readiness import Known, known
from shop.store.shared import Statement
from tests.support.commands import Commands, counted
from tests.support.fixtures import own_mongod

pytestmark = pytest.mark.usefixtures("shop")

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
USERS = [f"user {number}" for number in range(20)]
ADD_ONE: list[dict[str, Any]] = [{"$set": {"balance": {"$add": [{"$ifNull": ["$balance", Int64(0)]}, Int64(1)]}}}]


@pytest.fixture(scope="module")
async def with_fail_points(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongod]:
    """Run a mongod that can be told to fail."""
    async with own_mongod(tmp_path_factory.mktemp("fragile")) as server:
        yield server


@pytest.fixture
async def fragile(with_fail_points: Mongod) -> AsyncIterator[Mongod]:
    """Work on that one."""
    with pymongo.MongoClient[Document](with_fail_points.uri) as outside:
        outside.drop_database("billing")
    async with counted(with_fail_points.uri):
        yield with_fail_points


@pytest.fixture
async def commands() -> AsyncIterator[Commands]:
    """Count what is sent from now on."""
    async with counted() as counting:
        yield counting


async def funded(*users: str) -> None:
    for user in users:
        await billing.create_user(user)
        await billing.credit(user, 100, None)


def requested(user: str, number: int = 1, attempt: int = 1, sum_: int = 10) -> PaymentRequested:
    basket = f"{USERS.index(user):012x}{number:012x}"
    return PaymentRequested(user=user, basket=basket, number=number, attempt=attempt, sum=sum_, ordered_at=AT)


def add_one(user: str) -> Awaitable[shared.Seen | None]:
    return shared.apply(collection("billing", "users"), Statement({"_id": user}, ADD_ONE, upsert=True))


async def balance(user: str) -> int:
    """Read what the primary has: after a write concern that failed it may not be durable yet."""
    document = await latest(collection("billing", "users")).find_one({"_id": user})
    return 0 if document is None else int(document["balance"])


async def told(*events: PaymentRequested) -> list[PaymentDecided | None]:
    return [decision.event for decision in await asyncio.gather(*map(billing.decide, events))]


@contextmanager
def failing(mongod: Mongod, *, times: int, **data: Any) -> Iterator[None]:
    """Let mongod fail the next commands of this process."""
    fail = {"configureFailPoint": "failCommand", "data": {"appName": "counted", **data}}
    with pymongo.MongoClient[Document](mongod.uri) as outside:
        outside.admin.command({**fail, "mode": {"times": times}})
        try:
            yield
        finally:
            outside.admin.command({**fail, "mode": "off"})


class TestStatements:
    async def test_who_comes_alone_waits_for_nobody(self, commands: Commands) -> None:
        """Each has its own command, and as many as ever."""
        for user in USERS[:3]:
            await add_one(user)
        assert commands.names == ["findAndModify"] * 3

    async def test_who_comes_meanwhile_shares_the_next_command(self, commands: Commands) -> None:
        """Twenty payments: one update, and one look at what they did."""
        await funded(*USERS)
        commands.names.clear()
        decided = await told(*map(requested, USERS))
        assert [each and each.outcome for each in decided] == [PAID] * 20
        assert [each and each.user for each in decided] == USERS
        assert commands.names == ["update", "find"]

    async def test_a_command_carries_no_more_than_the_most(self, commands: Commands) -> None:
        """The rest goes with the one after it."""
        await asyncio.gather(*(add_one(f"user {number}") for number in range(111)))
        assert [len(sent["updates"]) for sent in commands.sent if "update" in sent] == [100, 11]  # type: ignore[arg-type]

    async def test_all_statements_of_one_document_count(self) -> None:
        """One after the other, in one command too."""
        await asyncio.gather(*(add_one(USERS[0]) for _ in range(50)))
        assert await balance(USERS[0]) == 50

    async def test_two_payments_of_one_user_are_both_right(self) -> None:
        """There is money for ten of twelve; whoever is declined is not told of as paid, nor the other way."""
        await funded(USERS[0])
        events = [requested(USERS[0], number) for number in range(1, 13)]
        decided = await told(*events)
        outcomes = Counter(each.outcome for each in decided if each)
        assert outcomes[PAID] == 10
        assert sum(outcomes.values()) == 12
        assert await balance(USERS[0]) == 0
        document = await collection("billing", "users").find_one({"_id": USERS[0]})
        assert document is not None
        paid = {str(entry["basket"]) for entry in document["paid_baskets"]}
        assert paid == {each.basket for each in decided if each and each.outcome == PAID}

    async def test_the_same_event_many_times_is_one_payment(self) -> None:
        """All are told the same, the same byte for byte."""
        await funded(*USERS[:2])
        decided = await told(*[requested(USERS[0]), requested(USERS[1])] * 10)
        assert len({each.SerializeToString(deterministic=True) for each in decided if each}) == 2
        assert [await balance(user) for user in USERS[:2]] == [90, 90]

    async def test_each_order_is_told_of_its_own(self) -> None:
        """Twenty baskets, each ordered twice at the same time: one of the two is new, and both emit one event."""
        baskets = await asyncio.gather(*map(orders.current_basket, USERS))
        requests = [OrderRequest(user=b["user"], basket=str(b["_id"]), sum=n) for n, b in enumerate(baskets, 1)] * 2
        placed = await asyncio.gather(*map(orders.place, requests))
        assert [each.event and each.event.sum for each in placed] == [request.sum for request in requests]
        assert Counter(each.replayed for each in placed) == {True: 20, False: 20}
        fresh = [each.response.basket for each in placed if not each.replayed]
        assert len(set(fresh)) == 20

    async def test_nothing_is_read_when_all_statements_changed_something(self, commands: Commands) -> None:
        """The count tells it; one that comes again is looked at."""
        decided = [
            PaymentDecided(user=user, basket=f"{n:024x}", number=1, attempt=1, sum=10, outcome=PAID, decided_at=AT)
            for n, user in enumerate(USERS)
        ]
        await asyncio.gather(*map(notifications.record, decided))
        assert commands.names == ["update"]
        await asyncio.gather(*map(notifications.record, decided))
        assert commands.names == ["update", "update", "find"]
        assert await collection("notify", "notifications").count_documents({}) == 20

    async def test_what_changed_nothing_is_looked_at_when_others_did(self) -> None:
        """Nineteen are new, and one was notified otherwise before: it is refused, and nobody else."""
        decided = [
            PaymentDecided(user=user, basket=f"{n:024x}", number=1, attempt=1, sum=10, outcome=PAID, decided_at=AT)
            for n, user in enumerate(USERS)
        ]
        other = PaymentDecided.FromString(decided[7].SerializeToString())
        other.sum = 11
        await notifications.record(other)
        results = await asyncio.gather(*map(notifications.record, decided), return_exceptions=True)
        assert [n for n, each in enumerate(results) if each != "paid"] == [7]
        assert isinstance(results[7], Contradiction)

    async def test_who_does_not_find_what_it_looks_for_asks_by_itself(self) -> None:
        """Decided and archived between the update and the look: no decline, no refusal."""
        await funded(*USERS[:3])

        async def archive(_: Any) -> list[shared.Seen | None]:
            return [shared.Seen({"_id": USERS[0], "paid_baskets": [], shared.LENGTH: 0})]

        lanes = shared.Lanes()
        lanes.lane(("apply", collection("billing", "users").database.name, "users"), archive)
        given = {shared.Lanes: lanes, open_client: client(), Known: known()}
        with process.running(process.Process(process.current().settings, given)):
            decision = await billing.decide(requested(USERS[0]))
        assert decision.event is not None
        assert decision.event.outcome == PAID
        assert await balance(USERS[0]) == 90


class TestErrors:
    async def test_a_statement_that_fails_is_nobody_else_s(self) -> None:
        """A document that the validator refuses: who sent it is told nothing, the others what became of theirs."""
        users = collection("billing", "users")
        wrong = Statement({"_id": USERS[0]}, [{"$set": {"balance": "much"}}], upsert=True)
        seen = await asyncio.gather(add_one(USERS[1]), shared.apply(users, wrong), *map(add_one, USERS[2:]))
        assert seen[1] is None
        assert [each and each.document and each.document["balance"] for each in [seen[0], *seen[2:]]] == [1] * 19
        assert await users.find_one({"_id": USERS[0]}) is None

    async def test_a_write_concern_error_makes_all_unknown(self, fragile: Mongod) -> None:
        """Nobody of the batch is told that something is done; what was done counts once all the same."""
        error = {"code": 64, "errmsg": "timed out", "errInfo": {"wtimeout": True}}
        with failing(fragile, times=1, failCommands=["update"], writeConcernError=error):
            results = await asyncio.gather(*map(add_one, USERS), return_exceptions=True)
        assert [type(each) for each in results] == [WriteConcernError] * 20
        assert [await balance(user) for user in USERS] == [1] * 20

    async def test_a_lost_connection_is_tried_twice_more(self, fragile: Mongod) -> None:
        """Before the command, once or twice: nobody notices. Thrice: all are told that it is unknown."""
        with failing(fragile, times=2, failCommands=["update"], closeConnection=True):
            await asyncio.gather(*map(add_one, USERS))
        assert [await balance(user) for user in USERS] == [1] * 20
        with failing(fragile, times=3, failCommands=["update"], closeConnection=True):
            results = await asyncio.gather(*map(add_one, USERS), return_exceptions=True)
        assert all(isinstance(each, PyMongoError) for each in results)

    async def test_a_departure_is_nobody_else_s(self) -> None:
        """The first one, for whom the command runs, and one that waits go away: the others are answered."""
        tasks = [asyncio.ensure_future(add_one(user)) for user in USERS]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[7].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [number for number, each in enumerate(results) if isinstance(each, asyncio.CancelledError)] == [0, 7]
        assert [await balance(user) for user in USERS[1:7]] == [1] * 6

    async def test_a_deadline_is_nobody_else_s(self, fragile: Mongod) -> None:
        """Who has little time ends; who came with it has its own."""

        async def in_haste() -> None:
            with deadline(0.2):
                await add_one(USERS[0])

        with failing(fragile, times=1, failCommands=["update"], blockConnection=True, blockTimeMS=1000):
            hasty, patient, other = await asyncio.gather(
                in_haste(), add_one(USERS[1]), add_one(USERS[2]), return_exceptions=True
            )
        assert isinstance(hasty, TimeoutError)
        assert isinstance(patient, shared.Seen)
        assert isinstance(other, shared.Seen)

    async def test_a_command_that_hangs_is_given_up_by_both_sides(self, fragile: Mongod) -> None:
        """All of its batch are told that it is unknown, and the next batch goes on."""
        its = process.current()
        impatient = process.Process(its.settings, {open_client: client(), Known: known()}, patience=0.3)
        with (
            process.running(impatient),
            failing(fragile, times=1, failCommands=["update"], blockConnection=True, blockTimeMS=5000),
        ):
            began = asyncio.get_running_loop().time()
            results = await asyncio.gather(*map(add_one, USERS[:3]), return_exceptions=True)
            assert [type(each) for each in results] == [NetworkTimeout] * 3
            assert asyncio.get_running_loop().time() - began < 4.5
            async with counted(fragile.uri) as commands:
                await asyncio.gather(*map(add_one, USERS[3:6]))
        assert all(0 < command["maxTimeMS"] <= 5000 for command in commands.sent)
        assert [await balance(user) for user in USERS[3:6]] == [1] * 3

    async def test_what_the_batch_raises_everybody_is_told_and_the_next_goes_on(self) -> None:
        """A bug, for instance."""

        async def fail(items: Any) -> list[int]:
            if 2 in items:
                raise ZeroDivisionError
            return list(items)

        lane = shared.Lanes().lane("any", fail)
        results = await asyncio.gather(*(lane.share(item) for item in (1, 2, 3)), return_exceptions=True)
        assert [type(each) for each in results] == [ZeroDivisionError] * 3
        assert await lane.share(4) == 4


class TestReads:
    @pytest.mark.parametrize("count", [1, 20])
    async def test_all_are_linearizable_and_shared(self, commands: Commands, count: int) -> None:
        """Twenty at once are one command; each is answered with its own document, or that there is none."""
        await funded(*USERS[1:])
        commands.names.clear()
        commands.sent.clear()
        users = collection("billing", "users")
        found = await asyncio.gather(*(shared.look(users, {"_id": user}) for user in USERS[:count]))
        assert [each and each["_id"] for each in found] == [None, *USERS[1:count]]
        assert commands.names == ["find"]
        assert all(sent["readConcern"] == {"level": "linearizable"} for sent in commands.sent)

    async def test_baskets_of_many_users_are_one_walk_through_the_index(self, commands: Commands) -> None:
        """One entry of each user is read, however many baskets there are."""
        baskets = collection("orders", "baskets")
        for user in USERS:
            key = [{"user": user, "number": Int64(number)} for number in range(1, 6)]
            await baskets.insert_many([{**each, "status": "paid", "attempt": Int64(1), **_PAID} for each in key])
        found = await asyncio.gather(*(shared.look_at_last(baskets, "user", user, by="number") for user in USERS))
        assert [each and (each["user"], each["number"]) for each in found] == [(user, 5) for user in USERS]
        assert commands.names[-1] == "aggregate"
        aggregate = {name: commands.sent[-1][name] for name in ("aggregate", "pipeline", "cursor")}
        plan = await baskets.database.command("explain", aggregate, verbosity="executionStats")
        stages = dict(_stages(plan))
        assert "DISTINCT_SCAN" in stages
        assert stages["DISTINCT_SCAN"]["keysExamined"] <= 2 * len(USERS) + 2

    async def test_the_same_key_may_be_asked_for_by_many(self) -> None:
        """All get it."""
        await funded(USERS[0])
        found = await asyncio.gather(*(billing.find_account(USERS[0]) for _ in range(30)))
        assert [each["balance"] for each in found] == [100] * 30


_PAID: Mapping[str, Any] = {"sum": Int64(1), "ordered_at": AT, "decided_at": AT, "request": ObjectId()}


def _stages(plan: Any) -> Iterator[tuple[str, Any]]:
    match plan:
        case {"stage": str(name)}:
            yield name, plan
    for value in plan.values() if isinstance(plan, dict) else plan if isinstance(plan, list) else ():
        yield from _stages(value)
