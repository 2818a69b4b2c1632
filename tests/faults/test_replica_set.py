"""MongoDB fails over: what was answered stays, and nothing is emitted that can still roll back."""

from collections.abc import AsyncIterator

import pytest

from local.settings import Settings
from tests.faults.injections import ON_A_REPLICA_SET
from tests.faults.replica_set import Member, ReplicaSet
from tests.faults.rounds import play
from tests.faults.system import System, running
from tests.faults.topics import PAYMENTS
from tests.faults.waiting import eventually

_SHORT = ("primary-steps-down", "primary-frozen-until-replaced")


@pytest.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Run the whole system on three mongods."""
    folder = tmp_path_factory.mktemp("replicated")
    async with ReplicaSet(folder) as replica_set:
        settings = Settings(folder=folder / "stack", port=0, mongodb_uri=replica_set.uri, kafka_port=0, sink_port=0)
        async with running(settings, replica_set) as system:
            yield system


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name in _SHORT else pytest.mark.long) for name in ON_A_REPLICA_SET]
)
async def test_on_a_replica_set_no_order_is_lost_and_none_charged_twice(replicated: System, fault: str) -> None:
    """Each order that was answered 200 outlives the fault, and is settled and notified once."""
    played = await play(replicated, ON_A_REPLICA_SET[fault])

    assert played.anomalies == []
    assert played.paid


async def test_resend_emits_nothing_that_can_roll_back(replicated: System) -> None:
    """An order that only the primary has is answered 503, is not resent, and rolls back: nobody was charged for it."""
    shop, replica_set = replicated.shop, replicated.replica_set
    assert replica_set is not None
    user = await shop.account(100)
    basket, attempt = await shop.basket(user)

    async with replica_set.stalled() as primary:
        reply = await shop.order(user, basket, 10, attempt)
        await _make_due_on(primary, user)
        assert await replicated.tick() == 200
        assert await _status_on(primary, user) == "ordered", "the window was never open"
        with primary.frozen():
            # The others go on without what they never had.
            for member in replica_set.members:
                if member is not primary:
                    await member.stall(stalled=False)
            await replica_set.primary(other_than=primary)
    await eventually(primary.is_secondary)

    assert (reply.status, reply.headers.get("Retry-After")) == (503, "1")
    assert (await replicated.basket(basket))["status"] == "open"
    assert not replicated.topics.records(PAYMENTS, f"{basket}.1")
    assert await replicated.pay(user, 10) == basket
    assert await shop.balance(user) == 90
    assert await replicated.notified(user, 1) == [(f"{basket}.1", "paid")]


async def _make_due_on(primary: Member, user: str) -> None:
    due = [{"$set": {"resend_at": {"$subtract": ["$$NOW", 1000]}}}]
    await primary.ask(lambda client: client["orders"]["baskets"].update_one({"user": user}, due))


async def _status_on(primary: Member, user: str) -> str:
    """Return the basket's status as the primary has it, durable or not."""
    stored = await primary.ask(lambda client: client["orders"]["baskets"].find_one({"user": user}))
    assert stored is not None
    return str(stored["status"])
