"""An order is charged once and a deposit counted once: the billing service's promises, on a real MongoDB.

Every history runs with arrays of 64 and 32, as deployed, and of 4 and 2, where it crosses the limit.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from bson import Int64

from shop import billing
from shop.archive import PAID_BASKETS
from shop.errors import Contradiction, Impossible, NotFound, Unavailable
from shop.messages import MAX_BALANCE
from shop.process.settings import ArrayLimits
from shop.schema.events_pb2 import DECLINED, PAID, Outcome, PaymentDecided, PaymentRequested
from shop.store.client import Document, collection
from tests.support.commands import counted

pytestmark = pytest.mark.usefixtures("shop", "limits")

ORDERED_AT = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture(params=[(64, 32), (4, 2)], ids=["64/32", "4/2"])
def limits(request: pytest.FixtureRequest, configure: Callable[..., None]) -> tuple[int, int]:
    """Set the arrays' limits."""
    limit, batch = request.param
    configure(array_limits=ArrayLimits(limit, batch))
    return limit, batch


def requested(
    number: int = 1, attempt: int = 1, sum_: int = 10, user: str = "Pavel", basket: str = ""
) -> PaymentRequested:
    return PaymentRequested(
        user=user, basket=basket or f"{number:024x}", number=number, attempt=attempt, sum=sum_, ordered_at=ORDERED_AT
    )


async def decide(event: PaymentRequested) -> PaymentDecided | None:
    """Handle an event as the function does: twice, as Kafka may, and the second says the same."""
    first, second = await charge(event), await charge(event)
    assert first == second
    return first


async def charge(event: PaymentRequested) -> PaymentDecided | None:
    """Handle an event as the function does, and return what it told."""
    told: list[PaymentDecided] = []

    async def emit(decided: PaymentDecided, _: str | None) -> None:
        told.append(decided)

    said = await billing.charge(event, emit, None)
    assert said in ((Outcome.Name(told[0].outcome).lower(), "replayed") if told else ("older",))
    return told[0] if told else None


async def account(user: str = "Pavel") -> Document:
    document = await collection("billing", "users").find_one({"_id": user})
    assert document is not None
    return document


async def funded(sum_: int = 100, user: str = "Pavel") -> None:
    await billing.create_user(user)
    await billing.deposit(user, sum_, None)


async def audit(user: str = "Pavel") -> None:
    """Check that balance = deposits - paid, from the user document alone and from the archives."""
    document = await account(user)
    archived = document.get("archived", {})
    paid = sum(entry["sum"] for entry in document.get("paid_baskets", []))
    deposited = sum(entry["sum"] for entry in document.get("deposits", []))
    assert document["balance"] == deposited + archived.get("deposited", 0) - paid - archived.get("paid", 0)
    assert document["balance"] >= 0
    in_array = {entry["basket"] for entry in document.get("paid_baskets", [])}
    in_archive = [
        entry
        async for entry in collection("billing", "paid_baskets").find({"user": user})
        if entry["basket"] not in in_array
    ]
    assert sum(entry["sum"] for entry in in_archive) == archived.get("paid", 0)


class TestDecide:
    async def test_it_takes_one_round_trip(self) -> None:
        """One find-and-modify decides; another one says the same to a redelivery."""
        await funded()
        async with counted() as commands:
            await billing.decide(requested())
            await billing.decide(requested())
        assert commands.names == ["findAndModify", "findAndModify"]

    async def test_a_basket_is_charged_once(self) -> None:
        """Delivered twice: PAID both times, the balance less by one sum."""
        await funded(100)
        decided = await decide(requested())
        assert decided is not None
        assert (decided.outcome, decided.reason, decided.sum, decided.attempt) == (PAID, "", 10, 1)
        assert (await account())["balance"] == 90
        await audit()

    async def test_fifty_concurrent_deliveries_charge_once(self) -> None:
        """All of them say the same; the log tells one from the others."""
        await funded(100)
        decisions = await asyncio.gather(*(charge(requested()) for _ in range(50)))
        assert all(decision is not None and decision == decisions[0] for decision in decisions)
        assert (await account())["balance"] == 90

    @pytest.mark.parametrize(("funds", "first"), [(100, "paid"), (1, "declined")])
    async def test_the_log_tells_a_first_decision_from_a_repetition(self, funds: int, first: str) -> None:
        """By itself, and in a batch of both."""

        async def emit(decided: PaymentDecided, _: str | None) -> None:
            pass

        for user in "ABCD":
            await funded(funds, user)
        events = [requested(number, user=user) for number, user in enumerate("ABCD", 1)]
        assert [await billing.charge(event, emit, None) for event in events[:2]] == [first] * 2
        assert await billing.charge(events[0], emit, None) == "replayed"
        said = await asyncio.gather(*(billing.charge(event, emit, None) for event in (*events, events[3])))
        assert said in (["replayed"] * 2 + [first] * 2 + last for last in (["replayed"], [first]))

    async def test_the_last_of_the_money_can_be_spent(self) -> None:
        """Balance = sum is enough."""
        await funded(10)
        assert (await decide(requested())).outcome == PAID
        assert (await account())["balance"] == 0

    async def test_a_decline_is_final(self) -> None:
        """A top-up and a redelivery do not charge what the customer was told was declined."""
        await funded(5)
        declined = await decide(requested())
        assert declined is not None
        assert (declined.outcome, declined.reason) == (DECLINED, "insufficient funds")
        await billing.deposit("Pavel", 100, None)
        assert await decide(requested()) == declined
        assert (await account())["balance"] == 105

    async def test_the_next_attempt_is_decided_anew(self) -> None:
        """A later attempt of a declined basket: charged, and the older one is silent from then on."""
        await funded(5)
        await decide(requested())
        await billing.deposit("Pavel", 100, None)
        assert (await decide(requested(attempt=2, sum_=7))).outcome == PAID
        assert await decide(requested()) is None
        assert (await account())["balance"] == 98
        await audit()

    async def test_an_older_attempt_is_silent_after_a_later_decline(self) -> None:
        """Whatever its sum: a later one exists only after the older one's decision was consumed."""
        await funded(5)
        await decide(requested())
        await decide(requested(attempt=2))
        assert await decide(requested(attempt=1)) is None
        assert await decide(requested(attempt=1, sum_=99)) is None
        assert (await decide(requested(attempt=2))).outcome == DECLINED

    @pytest.mark.parametrize(
        ("forged", "says"),
        [
            ({"attempt": 2}, "attempt 2 was ordered, but attempt 1"),
            ({"sum_": 11}, "ordered for 11, but decided for 10"),
        ],
    )
    async def test_what_contradicts_a_payment_is_refused(self, forged: dict[str, int], says: str) -> None:
        """Later attempt of a paid basket, same attempt with another sum: 422 with both values, nothing changed."""
        await funded()
        await decide(requested())
        before = await account()
        with pytest.raises(Contradiction, match=says):
            await billing.decide(requested(**forged))
        assert await account() == before

    async def test_another_sum_on_a_declined_attempt_is_refused(self) -> None:
        """Same attempt, other sum: 422, although the money would suffice."""
        await funded(5)
        await decide(requested())
        before = await account()
        with pytest.raises(Contradiction):
            await billing.decide(requested(sum_=5))
        assert await account() == before

    @pytest.mark.parametrize("user", ["Pavel", "Павел", "$balance", "a.b", "🙂" * 64])
    async def test_any_user_is_only_a_value(self, user: str) -> None:
        """Names that look like paths or operators are names."""
        await funded(100, user)
        assert (await decide(requested(user=user))).outcome == PAID
        assert (await account(user))["balance"] == 90

    async def test_integers_stay_int64(self) -> None:
        """Nothing turns into a double or an int32 on its way."""
        await funded()
        await decide(requested())
        document = await account()
        (entry,) = document["paid_baskets"]
        (deposited,) = document["deposits"]
        integers = [document["balance"], entry["number"], entry["attempt"], entry["sum"], deposited["sum"]]
        assert {type(value) for value in integers} == {Int64}


class TestStub:
    async def test_an_unknown_user_is_declined_and_stays_declined(self) -> None:
        """A stub remembers the decline; creating the user and depositing later does not undo it."""
        declined = await decide(requested())
        assert declined is not None
        assert (declined.outcome, declined.reason) == (DECLINED, "unknown user")
        assert await billing.create_user("Pavel")
        await billing.deposit("Pavel", 100, None)
        assert await decide(requested()) == declined
        assert (await decide(requested(attempt=2))).outcome == PAID
        await audit()

    async def test_no_other_function_takes_a_stub_for_an_account(self) -> None:
        """GetUser and DepositCash say that there is no such user."""
        await decide(requested())
        with pytest.raises(NotFound):
            await billing.find_account("Pavel")
        with pytest.raises(NotFound):
            await billing.deposit("Pavel", 10, None)

    async def test_creating_a_user_twice_keeps_the_balance(self) -> None:
        """The second call says that it was there."""
        await funded(100)
        assert not await billing.create_user("Pavel")
        assert (await account())["balance"] == 100

    async def test_fifty_concurrent_creations_make_one_user(self) -> None:
        """None fails; one of them made it."""
        assert sum(await asyncio.gather(*(billing.create_user("Pavel") for _ in range(50)))) == 1


class TestDeposit:
    async def test_it_takes_one_round_trip(self) -> None:
        """With and without a key, while nothing is archived."""
        await billing.create_user("Pavel")
        async with counted() as commands:
            await billing.deposit("Pavel", 10, None)
            await billing.deposit("Pavel", 10, "key")
            await billing.deposit("Pavel", 10, "key")
        assert commands.names == ["findAndModify"] * 3

    async def test_concurrent_deposits_are_all_counted(self) -> None:
        """Fifty without a key are fifty deposits."""
        await billing.create_user("Pavel")
        await asyncio.gather(*(billing.deposit("Pavel", 10, None) for _ in range(50)))
        assert (await account())["balance"] == 500
        await audit()

    async def test_concurrent_deposits_with_one_key_are_one(self) -> None:
        """One of fifty credits; the others are replays of it."""
        await billing.create_user("Pavel")
        deposits = await asyncio.gather(*(billing.deposit("Pavel", 10, "key") for _ in range(50)))
        assert sum(not deposited.replayed for deposited in deposits) == 1
        assert (await account())["balance"] == 10

    async def test_a_key_with_another_sum_is_refused(self) -> None:
        """422, and nothing changed."""
        await billing.create_user("Pavel")
        await billing.deposit("Pavel", 10, "key")
        with pytest.raises(Contradiction, match="deposited 10, not 11"):
            await billing.deposit("Pavel", 11, "key")
        assert (await account())["balance"] == 10

    async def test_a_key_is_remembered_in_the_archive(self, limits: tuple[int, int]) -> None:
        """The array crosses its limit twice; an old key is still a replay, or refused with another sum."""
        await billing.create_user("Pavel")
        count = 2 * limits[0] + 1
        for number in range(count):
            await billing.deposit("Pavel", 10, f"key {number}")
        for number in (0, 1, count // 2, count - 1):
            assert (await billing.deposit("Pavel", 10, f"key {number}")).replayed
            with pytest.raises(Contradiction):
                await billing.deposit("Pavel", 11, f"key {number}")
        document = await account()
        assert document["balance"] == 10 * count
        assert len(document["deposits"]) <= limits[0]
        assert document["archived"]["deposits"] > limits[0] // 2
        await audit()

    async def test_one_key_deposited_while_others_fill_the_archive_counts_once(self, limits: tuple[int, int]) -> None:
        """Concurrent moves to the archive neither hide the key nor double it."""
        await billing.create_user("Pavel")
        others = [billing.deposit("Pavel", 1, f"key {number}") for number in range(2 * limits[0])]
        same = [billing.deposit("Pavel", 1000, "same") for _ in range(10)]
        mixed = [*others, *same]
        random.Random(7).shuffle(mixed)
        for outcome in await asyncio.gather(*mixed, return_exceptions=True):
            # Races that go on and on are given up, which a client repeats: nothing else may happen.
            assert isinstance(outcome, billing.Deposited | Unavailable)
        await asyncio.gather(*(billing.deposit("Pavel", 1, f"key {number}") for number in range(2 * limits[0])))
        await billing.deposit("Pavel", 1000, "same")
        assert (await account())["balance"] == 1000 + 2 * limits[0]
        await audit()

    async def test_a_balance_stays_exact(self) -> None:
        """Past 2^53 - 1 it is refused, up to there it is not."""
        await billing.create_user("Pavel")
        await collection("billing", "users").update_one(
            {"_id": "Pavel"}, {"$set": {"balance": Int64(MAX_BALANCE - 10)}}
        )
        with pytest.raises(Impossible, match=str(MAX_BALANCE)):
            await billing.deposit("Pavel", 11, None)
        assert (await billing.deposit("Pavel", 10, None)).balance == MAX_BALANCE

    async def test_without_an_account_nothing_is_deposited(self) -> None:
        """404, and no document is made."""
        with pytest.raises(NotFound):
            await billing.deposit("Nobody", 10, "key")
        assert await collection("billing", "users").count_documents({}) == 0


class TestBounded:
    async def test_old_baskets_are_recognised_after_the_array_crossed_its_limit_twice(
        self, limits: tuple[int, int]
    ) -> None:
        """Paid as stored, for every basket there ever was; older, later and other attempts as the table says."""
        limit, batch = limits
        count = 2 * limit + 3
        await funded(10 * count)
        first = [await decide(requested(number)) for number in range(1, count + 1)]
        document = await account()
        assert len(document["paid_baskets"]) < limit
        assert document["archived_through"] == document["paid_baskets"][0]["number"] - 1
        assert document["archived_through"] % batch == 0
        for number in range(1, count + 1):
            assert await decide(requested(number)) == first[number - 1]
        for number in (1, count):
            with pytest.raises(Contradiction):
                await billing.decide(requested(number, attempt=2))
            with pytest.raises(Contradiction):
                await billing.decide(requested(number, sum_=11))
        assert (await account())["balance"] == 0
        await audit()

    async def test_an_unknown_basket_with_an_archived_number_is_decided(self, limits: tuple[int, int]) -> None:
        """A number proves nothing: what neither the array nor the archive holds is charged, once."""
        await funded(10_000)
        for number in range(1, limits[0] + 1):
            await decide(requested(number))
        before = await account()
        assert (await decide(requested(1, basket="f" * 24))).outcome == PAID
        assert (await account())["balance"] == before["balance"] - 10
        await audit()

    async def test_a_payment_after_much_history_still_takes_one_round_trip(self, limits: tuple[int, int]) -> None:
        """A number above archived_through proves "not archived" without a look."""
        await funded(10_000)
        for number in range(1, limits[0] + 2):
            await decide(requested(number))
        async with counted() as commands:
            await billing.decide(requested(limits[0] + 2))
        assert commands.names == ["findAndModify"]

    async def test_a_crash_between_insert_and_pull_harms_nobody(self, limits: tuple[int, int]) -> None:
        """The baskets are in both places; the next payment moves them, and they are counted once."""
        limit, batch = limits
        await funded(10_000)
        for number in range(1, limit):
            await decide(requested(number))
        await billing.decide(requested(limit))
        moved = [
            {**entry, "user": "Pavel", "position": Int64(position), "through": Int64(10 * position)}
            for position, entry in enumerate((await account())["paid_baskets"][:batch], 1)
        ]
        await collection("billing", "paid_baskets").insert_many(moved)
        assert await decide(requested(1)) is not None  # the crash; then the next delivery, of any basket
        assert (await account())["archived_through"] == batch
        await audit()

    async def test_two_that_archive_the_same_entries_count_them_once(self, limits: tuple[int, int]) -> None:
        """The pull is conditional on the mark being as read."""
        await funded(10_000)
        for number in range(1, limits[0]):
            await decide(requested(number))
        decision = await billing.decide(requested(limits[0]))
        await asyncio.gather(*(PAID_BASKETS.bound(decision.account) for _ in range(10)))
        document = await account()
        assert document["archived"]["paid"] == 10 * limits[1]
        assert document["archived_through"] == limits[1]
        await audit()

    async def test_processes_with_different_limits_do_not_disturb_each_other(
        self, configure: Callable[..., None]
    ) -> None:
        """A rollout that changes the limits: what one archived, the other finds."""
        await funded(10_000)
        for number in range(1, 40):
            configure(array_limits=ArrayLimits(limit=4 if number % 3 else 8, batch=3 if number % 2 else 2))
            assert (await decide(requested(number))).outcome == PAID
        for number in range(1, 40):
            assert (await decide(requested(number))).outcome == PAID
        assert (await account())["balance"] == 10_000 - 390
        await audit()
