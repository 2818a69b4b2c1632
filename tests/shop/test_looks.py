"""What an absence and a refusal rest on: the archive of the right user, in the right session, and the latest state."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo.errors import AutoReconnect

from shop import billing, notifications, orders
from shop.archive import DEPOSITS, PAID_BASKETS
from shop.errors import Contradiction, Impossible, NotFound, Rejected
from shop.messages import MAX_BALANCE
from shop.process.settings import ArrayLimits
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from shop.schema.orders_pb2 import OrderRequest
from shop.store.client import collection
from tests.support.commands import counted
from tests.support.meeting import meeting

AT = datetime(2026, 11, 26, 10, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("shop", "short")


@pytest.fixture
def short(configure: Callable[..., None]) -> None:
    """Archive two entries as soon as there are two."""
    configure(array_limits=ArrayLimits(2, 2))


def requested(number: int, *, user: str = "Pavel", sum_: int = 10, attempt: int = 1) -> PaymentRequested:
    return PaymentRequested(user=user, basket=f"{number:024x}", number=number, attempt=attempt, sum=sum_, ordered_at=AT)


async def deposit(user: str, key: str, sum_: int = 100) -> billing.Deposited:
    deposited = await billing.credit(user, sum_, key)
    account = await collection("billing", "users").find_one({"_id": user})
    assert account is not None
    await DEPOSITS.bound(account)
    return deposited


async def charge(event: PaymentRequested) -> PaymentDecided:
    decision = await billing.decide(event)
    await PAID_BASKETS.bound(decision.account)
    assert decision.event is not None
    return decision.event


async def history(user: str = "Pavel") -> None:
    """Make a user with four deposits and three payments, most of each archived."""
    await billing.create_user(user)
    for key in "abcd":
        await deposit(user, key)
    for number in (1, 2, 3):
        await charge(requested(number, user=user))


def once(others: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """Return what lets others do something the first time only."""
    come = [others]

    async def act() -> None:
        if come:
            await come.pop()()

    return act


class TestArchive:
    async def test_the_key_of_another_user_is_not_this_users(self) -> None:
        """Ann may name her deposit as Pavel named his, who deposited it long ago."""
        await history()
        await billing.create_user("Ann")
        for key in "xyz":
            await deposit("Ann", key)
        assert (await deposit("Ann", "a")).replayed is False
        assert (await billing.find_account("Ann"))["balance"] == 400
        assert (await deposit("Pavel", "a")).replayed is True

    async def test_the_basket_of_another_user_is_not_this_users(self) -> None:
        """A forged request, for a basket that Pavel paid long ago, is charged to whom it names."""
        await history()
        await history("Ann")
        before = (await billing.find_account("Ann"))["balance"]
        forged = requested(1, user="Ann")
        forged.basket = "f" * 24
        await collection("billing", "paid_baskets").insert_one(
            {"user": "Ben", "basket": ObjectId(forged.basket), "number": Int64(1), "attempt": Int64(1), "sum": Int64(7),
             "paid_at": AT, "position": Int64(1)}
        )  # fmt: skip
        assert (await charge(forged)).outcome == PAID
        assert (await billing.find_account("Ann"))["balance"] == before - 10

    @pytest.mark.parametrize("look", [lambda: billing.decide(requested(1)), lambda: billing.credit("Pavel", 100, "a")])
    async def test_the_look_is_in_the_session_of_the_update_and_after_it(
        self, look: Callable[[], Awaitable[object]]
    ) -> None:
        """A secondary that became primary meanwhile must not show the archive as it was before the account."""
        await history()
        async with counted() as commands:
            await look()
        looked = commands.names.index("find")
        update, find = commands.sent[looked - 1 : looked + 1]
        assert commands.names[looked - 1] == "findAndModify"
        assert find["lsid"] == update["lsid"]
        concern: Any = find["readConcern"]
        assert concern["level"] == "majority"
        assert "afterClusterTime" in concern

    async def test_a_payment_that_was_archived_is_told_again_and_not_made_again(self) -> None:
        """There is money for it, and its number alone says that it may be in the archive."""
        await history()
        balance = (await billing.find_account("Pavel"))["balance"]
        assert (await charge(requested(1))).outcome == PAID
        assert (await billing.find_account("Pavel"))["balance"] == balance

    async def test_a_decline_before_the_payment_that_was_archived_is_older(self) -> None:
        """The account still shows the decline, and the archive alone tells what came after it."""
        await billing.create_user("Pavel")
        assert (await charge(requested(1))).outcome == DECLINED
        for key in "abcd":
            await deposit("Pavel", key)
        await charge(requested(1, attempt=2))
        await charge(requested(2))
        (account,) = await collection("billing", "users").find({"_id": "Pavel"}).to_list()
        assert (account["paid_baskets"], account["declined"]["attempt"]) == ([], 1)
        assert (await billing.decide(requested(1))).event is None

    async def test_entries_are_moved_as_soon_as_there_are_as_many_as_the_limit(self) -> None:
        """Two, here; one that is alone stays."""
        await billing.create_user("Pavel")
        await deposit("Pavel", "a")
        assert len((await billing.find_account("Pavel"))["deposits"]) == 1
        await deposit("Pavel", "b")
        assert (await billing.find_account("Pavel"))["deposits"] == []
        assert await collection("billing", "deposits").count_documents({}) == 2

    async def test_a_payment_that_is_made_and_moved_during_the_look_is_not_made_again(self) -> None:
        """Another delivery was faster, from the first update to the archive."""
        await history()
        balance = (await billing.find_account("Pavel"))["balance"]
        event = requested(2)  # a number that was archived, of a basket that was not: orders was restored
        event.basket = "f" * 24
        with meeting("paid_baskets.find", once(lambda: charge(event)), after=True):
            assert (await charge(event)).outcome == PAID
        assert (await billing.find_account("Pavel"))["balance"] == balance - 10

    async def test_a_deposit_that_is_made_and_moved_during_the_look_is_not_made_again(self) -> None:
        """Another delivery was faster, and one more deposit moved both."""
        await history()
        balance = (await billing.find_account("Pavel"))["balance"]

        async def others() -> None:
            await deposit("Pavel", "new", 7)
            await deposit("Pavel", "newer", 1)

        with meeting("deposits.find", once(others), after=True):
            assert (await billing.credit("Pavel", 7, "new")).replayed
        assert (await billing.find_account("Pavel"))["balance"] == balance + 8

    @pytest.mark.parametrize("error", [AutoReconnect("away"), ZeroDivisionError("a bug")])
    async def test_a_move_that_fails_does_not_fail_the_answer(
        self, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The payment was made and told; the next one moves what is too much."""

        async def fail() -> None:
            raise error

        await billing.create_user("Pavel")
        await billing.credit("Pavel", 100, "a")
        await billing.decide(requested(1))
        with meeting("paid_baskets.bulk_write", fail):
            assert (await charge(requested(2))).outcome == PAID
        assert "archiving paid_baskets failed, the next message tries again" in caplog.text
        await charge(requested(3))
        assert await collection("billing", "paid_baskets").count_documents({}) == 2


class TestRefusal:
    """Whatever is refused for good was confirmed by a linearizable read, which is the last thing that is asked."""

    @staticmethod
    async def _rests_on_the_latest(refused: Callable[[], Awaitable[object]], kind: type[Rejected]) -> None:
        async with counted() as commands:
            with pytest.raises(kind):
                await refused()
        assert commands.names[-1] == "find"
        assert commands.sent[-1]["readConcern"] == {"level": "linearizable"}

    async def test_a_deposit_without_an_account(self) -> None:
        """404."""
        await self._rests_on_the_latest(lambda: billing.credit("Nobody", 1, "k"), NotFound)

    async def test_a_deposit_past_the_largest_balance(self) -> None:
        """422."""
        await billing.create_user("Pavel")
        await collection("billing", "users").update_one({}, {"$set": {"balance": Int64(MAX_BALANCE)}})
        await self._rests_on_the_latest(lambda: billing.credit("Pavel", 1, "k"), Impossible)
        await self._rests_on_the_latest(lambda: billing.credit("Pavel", 1, None), Impossible)

    @pytest.mark.parametrize("user", ["Pavel", "Nobody"])
    async def test_an_attempt_that_nothing_led_to(self, user: str) -> None:
        """With an account and without one."""
        await billing.create_user("Pavel")
        await self._rests_on_the_latest(lambda: billing.decide(requested(1, user=user, attempt=2)), Contradiction)

    async def test_an_order_of_no_basket_and_one_that_contradicts(self) -> None:
        """404 and 422."""
        basket = str((await orders.current_basket("Pavel"))["_id"])
        await self._rests_on_the_latest(
            lambda: orders.place(OrderRequest(user="Pavel", basket="f" * 24, sum=10, attempt=1)), NotFound
        )
        await self._rests_on_the_latest(
            lambda: orders.place(OrderRequest(user="Pavel", basket=basket, sum=10, attempt=7)), Contradiction
        )

    async def test_a_settlement_of_no_basket(self) -> None:
        """422."""
        decided = PaymentDecided(
            user="Pavel", basket="f" * 24, number=1, attempt=1, sum=10, outcome=PAID, decided_at=AT
        )
        await self._rests_on_the_latest(lambda: orders.settle(decided), Contradiction)

    async def test_a_notification_of_other_content(self) -> None:
        """422."""
        decided = PaymentDecided(
            user="Pavel", basket="f" * 24, number=1, attempt=1, sum=10, outcome=PAID, decided_at=AT
        )
        await notifications.record(decided)
        decided.sum = 11
        await self._rests_on_the_latest(lambda: notifications.record(decided), Contradiction)
