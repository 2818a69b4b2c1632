"""MongoDB fails over: what was answered stays, nothing that can roll back is emitted, nothing is told from before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import aiohttp
import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from local.settings import Settings
from local.stack import KAFKA_SINK
from proof.faults.customers import Reply, Shop
from proof.faults.injections import ON_A_REPLICA_SET
from proof.faults.replica_set import Member, ReplicaSet
from proof.faults.rounds import play
from proof.faults.system import Document, System, running
from proof.faults.topics import PAYMENTS
from proof.faults.waiting import eventually
from shop import billing, orders
from shop.emission import sink
from shop.errors import Rejected, Unavailable
from shop.process import process
from shop.process.process import Process
from shop.schema.events_pb2 import PAID, PaymentDecided
from shop.schema.orders_pb2 import OrderRequest
from shop.store.client import deadline, open_client

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
    # A process that just started could not learn its epoch from a stalled set.
    await replicated.pay(await shop.account(10), 10)
    assert await replicated.tick() == 200

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


async def test_a_basket_is_never_answered_from_before_a_failover(
    replicated: System,
) -> None:
    """Baskets are ordered by way of the new primary while the old one is asked for them, all in two commands.

    With read concern majority the answer was `open`: durable, and long past. A command that reads for many confirms
    the primary once, after it has read them all.
    """
    users = [await replicated.shop.account(100) for _ in range(8)]
    baskets = {user: (await replicated.shop.basket(user))[0] for user in users}

    async def status(user: str) -> object:
        return (await orders.find_order(user, baskets[user]))["status"]

    async def given(user: str) -> object:
        return (await orders.current_basket(user))["status"]

    async def order(successor: AsyncMongoClient[Document]) -> None:
        ids = [ObjectId(basket) for basket in baskets.values()]
        await successor["orders"]["baskets"].update_many({"_id": {"$in": ids}}, {"$set": _ordered()})

    questions = [partial(ask, user) for user in users for ask in (status, given)]
    answers = await _ask_a_replaced_primary(replicated, questions, meanwhile=order)

    assert set(answers) <= {UNKNOWN, "ordered"}


@pytest.mark.ci
async def test_nothing_is_refused_for_what_was_before_a_failover(
    replicated: System,
) -> None:
    """A basket and an account are made, and a basket is ordered, by way of the new primary; the old one knows nothing.

    Its updates find nothing to change, so write concern majority has nothing to wait for: it answered 404 and 422.
    """
    user = await replicated.shop.account(100)
    basket, _ = await replicated.shop.basket(user)
    newcomer, made = f"{user}-newcomer", ObjectId()
    decided = PaymentDecided(
        user=user, basket=basket, number=1, attempt=1, sum=10, outcome=PAID, decided_at=datetime.now(UTC)
    )

    async def make(successor: AsyncMongoClient[Document]) -> None:
        await successor["orders"]["baskets"].insert_one(
            {"_id": made, "user": newcomer, "number": Int64(1), "status": "open", "attempt": Int64(0)}
        )
        await successor["billing"]["users"].insert_one({"_id": newcomer, "balance": Int64(0)})
        await successor["orders"]["baskets"].update_one({"_id": ObjectId(basket)}, {"$set": _ordered()})

    questions: list[Callable[[], Awaitable[object]]] = [
        lambda: orders.place(OrderRequest(user=newcomer, basket=str(made), sum=10, attempt=1)),
        lambda: billing.credit(newcomer, 100, "key"),
        lambda: orders.settle(decided),
    ]
    answers = await _ask_a_replaced_primary(replicated, questions * 4, meanwhile=make)

    assert not [answer for answer in answers if isinstance(answer, Rejected)]


_WAITING = 200


async def test_who_waits_for_an_outcome_gets_it_whatever_fails_meanwhile(replicated: System) -> None:
    """No event of 200 orders gets out; create_order dies while their customers wait, and the primary steps down.

    Customers ask get_order, and wait there: without an error, until resend has had all of them paid, once.
    """
    shop, replica_set = replicated.shop, replicated.replica_set
    assert replica_set is not None
    users = await asyncio.gather(*(shop.account(100) for _ in range(_WAITING)))
    baskets = [basket for basket, _ in await asyncio.gather(*(shop.basket(user) for user in users))]

    with replicated.frozen(KAFKA_SINK):
        ordering = [asyncio.create_task(_order(shop, *order)) for order in zip(users, baskets, strict=True)]
        await eventually(lambda: _all_ordered(replicated, users))
        await asyncio.sleep(sink.TIMEOUT_S + 1)  # no customer waits for the emission any longer
        assert not any(task.done() for task in ordering), "nobody waits"
        await replicated.stack.kill("create-order")
        await replicated.stack.kill(KAFKA_SINK)
    answers = await asyncio.gather(*ordering)
    await replicated.stack.wait_ready(KAFKA_SINK, "create-order")
    waiting = [asyncio.create_task(_outcome(shop, *order)) for order in zip(users, baskets, strict=True)]
    await asyncio.sleep(2)
    assert not any(task.done() for task in waiting), "nobody waits"
    await replica_set.step_down()
    await replicated.resend(*users)
    await replicated.all_settled(users)
    outcomes = await asyncio.gather(*waiting)

    assert {answer.status for answer in answers if answer is not None} <= {502, 503}
    assert {first.status for first, _ in outcomes} == {200}
    assert {last.body["outcome"] for _, last in outcomes} == {"paid"}
    accounts = replicated.collection("billing.users").find({"_id": {"$in": users}})
    assert [(each["balance"], len(each["paid_baskets"])) async for each in accounts] == [(90, 1)] * _WAITING


async def _order(shop: Shop, user: str, basket: str) -> Reply | None:
    try:
        return await shop.order(user, basket, 10, 1, wait_s=20)
    except aiohttp.ClientError:
        return None


async def _outcome(shop: Shop, user: str, basket: str) -> tuple[Reply, Reply]:
    """Wait for an outcome, asking again as long as it is pending; return the first answer and the last."""
    reply = first = await shop.get_order(user, basket, wait_s=20)
    while reply.body.get("outcome") != "paid":
        await asyncio.sleep(0.5)
        reply = await shop.get_order(user, basket, wait_s=20)
    return first, reply


async def _all_ordered(system: System, users: Sequence[str]) -> bool:
    under_way = {"user": {"$in": users}, "status": "ordered"}
    return await system.collection("orders.baskets").count_documents(under_way) == len(users)


UNKNOWN = "unknown"
"""What the edge answers 503."""


async def _ask_a_replaced_primary(
    replicated: System,
    questions: Sequence[Callable[[], Awaitable[object]]],
    *,
    meanwhile: Callable[[AsyncMongoClient[Document]], Awaitable[None]],
) -> list[object]:
    """Ask a frozen primary, do something by way of its successor, let the old one go on, and return its answers.

    The questions lie in its socket, and it reads them before it hears of its successor. Who asks is cut off with it.
    """
    replica_set = replicated.replica_set
    assert replica_set is not None
    primary = await replica_set.primary()
    others = [member.address for member in replica_set.members if member is not primary]
    async with (
        AsyncMongoClient[Document](f"mongodb://{primary.address}", directConnection=True, tz_aware=True) as cut_off,
        AsyncMongoClient[Document](f"mongodb://{','.join(others)}/?replicaSet=shop&w=majority") as successor,
    ):
        await asyncio.gather(*(cut_off.admin.command("ping") for _ in questions))
        its = Process(process.current().settings, {open_client: cut_off}, patience=5)  # the freeze and an election fit
        with primary.frozen(), process.running(its):
            asked = [asyncio.create_task(_answer(question)) for question in questions]
            await replica_set.primary(other_than=primary)
            await meanwhile(successor)
            assert not any(task.done() for task in asked), "the window was never open"
        answers = await asyncio.gather(*asked)
    await eventually(primary.is_secondary)
    return answers


async def _answer(question: Callable[[], Awaitable[object]]) -> object:
    try:
        with deadline():
            return await question()
    except Rejected as refusal:
        return refusal
    except (PyMongoError, TimeoutError, Unavailable):
        return UNKNOWN


def _ordered() -> Document:
    now = datetime.now(UTC)
    return {
        "status": "ordered",
        "attempt": Int64(1),
        "sum": Int64(10),
        "ordered_at": now,
        "resend_at": now + timedelta(hours=1),
    }


async def _make_due_on(primary: Member, user: str) -> None:
    due = [{"$set": {"resend_at": {"$subtract": ["$$NOW", 1000]}}}]
    await primary.ask(lambda client: client["orders"]["baskets"].update_one({"user": user}, due))


async def _status_on(primary: Member, user: str) -> str:
    """Return the basket's status as the primary has it, durable or not."""
    stored = await primary.ask(lambda client: client["orders"]["baskets"].find_one({"user": user}))
    assert stored is not None
    return str(stored["status"])
