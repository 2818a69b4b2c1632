"""A basket moves `open -> ordered -> paid` by compare-and-set: the order service's promises, on a real MongoDB."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from bson import Int64, ObjectId

from shop import orders
from shop.errors import Contradiction, NotFound
from shop.orders import Ordered
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from shop.schema.orders_pb2 import GetOrderRequest, OrderRequest
from shop.store.client import Document, collection, database
from tests.support.commands import counted
from tests.support.meeting import meeting

pytestmark = pytest.mark.usefixtures("shop")

DECIDED_AT = datetime(2026, 11, 22, 10, 0, 0, 123000, UTC)


def decided(event: PaymentRequested, outcome: int = PAID, **changed: object) -> PaymentDecided:
    """Return what billing would say of an order; `changed` forges fields of it."""
    fields: dict[str, object] = {
        "user": event.user,
        "basket": event.basket,
        "number": event.number,
        "attempt": event.attempt,
        "sum": event.sum,
        "outcome": outcome,
        "reason": "insufficient funds" if outcome == DECLINED else "",
        "decided_at": DECIDED_AT,
    }
    return PaymentDecided(**(fields | changed))


async def new_basket(user: str = "Pavel") -> str:
    return str((await orders.current_basket(user))["_id"])


async def order(basket: str, sum_: int = 10, attempt: int | None = None, user: str = "Pavel") -> Ordered:
    return await orders.place(OrderRequest(user=user, basket=basket, sum=sum_, attempt=attempt))


async def stored(basket: str) -> Document:
    return await orders.find_order("Pavel", basket)


async def ordered_basket(sum_: int = 10) -> tuple[str, PaymentRequested]:
    basket = await new_basket()
    event = (await order(basket, sum_)).event
    assert event is not None
    return basket, event


async def declined_basket() -> str:
    basket, event = await ordered_basket()
    await orders.settle(decided(event, DECLINED))
    return basket


async def paid_basket() -> str:
    basket, event = await ordered_basket()
    await orders.settle(decided(event, PAID))
    return basket


class TestGetBasket:
    async def test_a_user_has_one_unpaid_basket(self) -> None:
        """Every call gives the same id until it is paid."""
        assert await new_basket() == await new_basket()

    async def test_a_basket_that_was_paid_meanwhile_is_not_given(self) -> None:
        """The next one is made by another call, and ordered and paid, right before this call makes it."""
        await paid_basket()
        others = [paid_basket]

        async def pay_it() -> None:
            if others:
                await others.pop()()

        with meeting("baskets.update", pay_it):
            given = await orders.current_basket("Pavel")
        assert (given["number"], given["status"]) == (3, "open")

    async def test_fifty_concurrent_calls_make_one_basket(self) -> None:
        """The upsert on exactly the unique key never fails and never makes a second one."""
        baskets = await asyncio.gather(*(new_basket() for _ in range(50)))
        assert len(set(baskets)) == 1
        assert await collection("orders", "baskets").count_documents({}) == 1

    async def test_after_payment_comes_the_next_number(self) -> None:
        """Basket n + 1 exists only after n was paid."""
        first = await paid_basket()
        second = await orders.current_basket("Pavel")
        assert str(second["_id"]) != first
        assert second["number"] == 2

    @pytest.mark.parametrize("make", [ordered_basket, declined_basket])
    async def test_an_ordered_or_declined_basket_is_still_the_one(self, make) -> None:
        """Only payment ends a basket."""
        made = await make()
        basket = made if isinstance(made, str) else made[0]
        assert await new_basket() == basket

    async def test_it_names_the_attempt_to_send(self) -> None:
        """A new one when open, the one on its way when ordered."""
        basket = await new_basket()
        assert orders.next_attempt(await stored(basket)) == 1
        event = (await order(basket)).event
        assert event is not None
        assert orders.next_attempt(await stored(basket)) == 1
        await orders.settle(decided(event, DECLINED))
        assert orders.next_attempt(await stored(basket)) == 2

    async def test_a_known_basket_is_read_as_it_is_now(self) -> None:
        """It may have been ordered, and a replaced primary not know it: the last word is linearizable."""
        await new_basket()
        async with counted() as commands:
            await new_basket()
        assert commands.names == ["find", "find"]
        assert [sent["readConcern"]["level"] for sent in commands.sent] == ["majority", "linearizable"]

    async def test_a_new_basket_takes_a_durable_read_and_its_own_update(self) -> None:
        """That the last one is paid is final, and what this call made nobody else has seen."""
        await paid_basket()
        async with counted() as commands:
            await new_basket()
        assert commands.names == ["find", "update"]
        assert commands.sent[0]["readConcern"] == {"level": "majority"}

    async def test_a_basket_that_another_call_made_is_read_as_it_is_now(self) -> None:
        """It is made and ordered right before this call makes it: what the update meets is not the last word."""
        others = [ordered_basket]

        async def order_it() -> None:
            if others:
                await others.pop()()

        async with counted() as commands:
            with meeting("baskets.update", order_it):
                given = await orders.current_basket("Pavel")
        assert (given["number"], given["status"]) == (1, "ordered")
        assert commands.sent[-1]["readConcern"] == {"level": "linearizable"}


class TestOrder:
    async def test_once_decided_it_is_told_of_its_own_attempt(self) -> None:
        """Even if none was sent, and the next attempt is on its way."""
        basket = await new_basket()
        request = OrderRequest(user="Pavel", basket=basket, sum=10)
        first = await orders.place(request)
        assert first.event is not None
        await orders.settle(decided(first.event, DECLINED))
        await order(basket, 20)
        told = await orders.once_decided(request, first)
        assert (told.attempt, told.outcome, told.order_status) == (1, "declined", "ordered")

    async def test_it_takes_one_round_trip(self) -> None:
        """One find-and-modify answers an order, the first time and when it comes again."""
        basket = await new_basket()
        async with counted() as commands:
            await order(basket)
            await order(basket)
        assert commands.names == ["findAndModify", "findAndModify"]

    async def test_a_statement_that_is_executed_twice_orders_once(self) -> None:
        """Its reply was lost; meanwhile the order was declined, and this is no new one."""
        basket = await new_basket()
        request = OrderRequest(user="Pavel", basket=basket, sum=10)
        again = orders._order_it(ObjectId(), request, None)
        key = {"_id": ObjectId(basket), "user": "Pavel"}
        await collection("orders", "baskets").update_one(key, again)
        event = orders.payment_requested(await stored(basket))
        await orders.settle(decided(event, DECLINED))
        before = await stored(basket)
        await collection("orders", "baskets").update_one(key, again)
        assert await stored(basket) == before

    async def test_the_first_one_orders_and_emits(self) -> None:
        """open, no attempt sent: the sum is set, the attempt is 1, the event says so."""
        basket = await new_basket()
        ordered = await order(basket, 10)
        assert (ordered.replayed, ordered.response.attempt, ordered.response.order_status) == (False, 1, "ordered")
        assert ordered.event is not None
        assert (ordered.event.user, ordered.event.number, ordered.event.attempt, ordered.event.sum) == (
            "Pavel",
            1,
            1,
            10,
        )

    async def test_fifty_concurrent_orders_make_one_attempt(self) -> None:
        """One of them orders, the others replay it; all would emit the same event."""
        basket = await new_basket()
        answers = await asyncio.gather(*(order(basket) for _ in range(50)))
        assert sum(not answer.replayed for answer in answers) == 1
        assert {answer.event.SerializeToString() for answer in answers} == {answers[0].event.SerializeToString()}
        assert (await stored(basket))["attempt"] == 1

    @pytest.mark.parametrize("attempt", [None, 1])
    async def test_ordered_with_the_same_sum_emits_again(self, attempt: int | None) -> None:
        """ordered, attempt absent or = stored, same sum: the same event byte for byte, and replayed."""
        basket, event = await ordered_basket()
        again = await order(basket, attempt=attempt)
        assert (again.response.message, again.replayed) == ("order accepted", True)
        assert again.event is not None
        assert again.event.SerializeToString(deterministic=True) == event.SerializeToString(deterministic=True)

    @pytest.mark.parametrize("attempt", [None, 1])
    async def test_ordered_with_another_sum_is_refused(self, attempt: int | None) -> None:
        """ordered, other sum: 422, and nothing changed."""
        basket, _ = await ordered_basket()
        before = await stored(basket)
        with pytest.raises(Contradiction, match="ordered for 10, not for 11"):
            await order(basket, 11, attempt)
        assert await stored(basket) == before

    @pytest.mark.parametrize("attempt", [None, 1])
    async def test_paid_is_replayed_and_nothing_emitted(self, attempt: int | None) -> None:
        """paid, attempt absent or = stored, same sum."""
        again = await order(await paid_basket(), attempt=attempt)
        assert (again.response.message, again.response.order_status) == ("paid", "paid")
        assert (again.replayed, again.event) == (True, None)

    @pytest.mark.parametrize("attempt", [None, 1])
    async def test_paid_with_another_sum_is_refused(self, attempt: int | None) -> None:
        """paid, other sum: 422."""
        basket = await paid_basket()
        with pytest.raises(Contradiction):
            await order(basket, 11, attempt)

    async def test_the_same_post_after_a_decline_is_no_new_attempt(self) -> None:
        """open, attempt = stored, same sum: replayed, declined, with the reason."""
        basket = await declined_basket()
        again = await order(basket, attempt=1)
        assert (again.response.message, again.replayed, again.event) == ("declined: insufficient funds", True, None)
        assert (again.response.attempt, again.response.order_status) == (1, "open")
        assert (await stored(basket))["attempt"] == 1

    async def test_the_same_attempt_after_a_decline_with_another_sum_is_refused(self) -> None:
        """open, attempt = stored, other sum: 422."""
        basket = await declined_basket()
        with pytest.raises(Contradiction):
            await order(basket, 11, attempt=1)

    @pytest.mark.parametrize("attempt", [None, 2])
    async def test_after_a_decline_the_next_attempt_may_have_another_sum(self, attempt: int | None) -> None:
        """open, attempt absent or stored + 1: ordered, and the old reason is gone."""
        basket = await declined_basket()
        ordered = await order(basket, 7, attempt)
        assert (ordered.replayed, ordered.response.attempt) == (False, 2)
        document = await stored(basket)
        assert document["sum"] == 7
        assert "reason" not in document
        assert "decided_at" not in document

    @pytest.mark.parametrize("sum_", [10, 11])
    async def test_an_older_attempt_was_declined_whatever_its_sum(self, sum_: int) -> None:
        """Attempt < stored: replayed, about that attempt, beside the basket's status now."""
        basket = await declined_basket()
        await order(basket, 10, 2)
        again = await order(basket, sum_, 1)
        answer = again.response
        assert (answer.message, answer.attempt, answer.order_status, again.event) == ("declined", 1, "ordered", None)
        assert again.replayed

    @pytest.mark.parametrize(
        ("make", "attempt", "send"), [(new_basket, 2, 1), (declined_basket, 3, 2), (paid_basket, 2, 1)]
    )
    async def test_a_later_attempt_is_refused_and_told_which_to_send(self, make, attempt: int, send: int) -> None:
        """Attempt > stored, or > stored + 1 when open: 422, naming the attempt to send."""
        basket = await make()
        before = await stored(basket)
        with pytest.raises(Contradiction, match=f"send attempt {send}"):
            await order(basket, 10, attempt)
        assert await stored(basket) == before

    @pytest.mark.parametrize("attempt", [None, 1, 2])
    async def test_a_basket_that_is_absent_or_of_another_user_is_not_found(self, attempt: int | None) -> None:
        """404 for both: nobody learns of other people's baskets."""
        with pytest.raises(NotFound):
            await order(str(ObjectId()), attempt=attempt)
        with pytest.raises(NotFound):
            await order(await new_basket("Olga"), attempt=attempt)

    async def test_times_are_the_servers(self) -> None:
        """ordered_at is a date of the server, and resend_at is a minute later."""
        document = await stored((await ordered_basket())[0])
        assert abs(document["ordered_at"] - datetime.now(UTC)) < timedelta(minutes=1)
        assert document["resend_at"] - document["ordered_at"] == timedelta(milliseconds=orders.RESEND_AFTER_MS)


class TestSettle:
    @pytest.mark.parametrize(("outcome", "status"), [(PAID, "paid"), (DECLINED, "open")])
    async def test_a_decision_settles_once_and_comes_again_for_free(self, outcome: int, status: str) -> None:
        """Delivered twice: the same outcome, and the document unchanged by the second."""
        basket, event = await ordered_basket()
        assert await orders.settle(decided(event, outcome)) == ("paid" if outcome == PAID else "declined")
        first = await stored(basket)
        assert await orders.settle(decided(event, outcome)) == "replayed"
        assert await stored(basket) == first
        assert (first["status"], first["decided_at"]) == (status, DECIDED_AT)
        assert "resend_at" not in first

    async def test_it_takes_one_round_trip(self) -> None:
        """One update the first time; again, a look at what it met."""
        _, event = await ordered_basket()
        async with counted() as commands:
            await orders.settle(decided(event))
            assert commands.names == ["update"]
            await orders.settle(decided(event))
        assert commands.names == ["update", "update", "find"]

    async def test_fifty_concurrent_deliveries_settle_once(self) -> None:
        """None of them fails, and one of them is the first."""
        _, event = await ordered_basket()
        said = await asyncio.gather(*(orders.settle(decided(event)) for _ in range(50)))
        assert Counter(said) == {"paid": 1, "replayed": 49}

    async def test_first_deliveries_and_repetitions_are_told_apart_in_one_batch(self) -> None:
        """And which time is later: that of billing's decision, or that of the settlement."""
        events = []
        for user in "ABCDEF":
            event = (await order(await new_basket(user), user=user)).event
            assert event is not None
            events.append(event)
        for event in events[:3]:
            await orders.settle(decided(event))
        said = await asyncio.gather(*(orders.settle(decided(event)) for event in events))
        assert said == ["replayed"] * 3 + ["paid"] * 3
        settled = await orders.find_order("A", events[0].basket)
        assert settled["settled_at"] - settled["ordered_at"] < timedelta(minutes=1)

    @pytest.mark.parametrize("sum_", [10, 99])
    async def test_an_older_decision_changes_nothing_whatever_its_sum(self, sum_: int) -> None:
        """A decline that comes again after the next attempt was ordered."""
        basket, event = await ordered_basket()
        await orders.settle(decided(event, DECLINED))
        await order(basket)
        before = await stored(basket)
        assert await orders.settle(decided(event, DECLINED, sum=sum_)) == "older"
        assert await stored(basket) == before

    @pytest.mark.parametrize(
        ("forged", "says"),
        [
            ({"attempt": 2}, "attempt 2 was decided"),
            ({"sum": 11}, "decided for 11, but ordered for 10"),
            ({"user": "Olga"}, "Olga has no basket"),
            ({"basket": "0" * 24}, "has no basket 0"),
        ],
    )
    async def test_what_no_order_led_to_is_refused(self, forged: dict[str, object], says: str) -> None:
        """Newer attempt, other sum, foreign user, unknown basket: 422 with both values, and nothing changed."""
        basket, event = await ordered_basket()
        before = await stored(basket)
        with pytest.raises(Contradiction, match=says):
            await orders.settle(decided(event, **forged))
        assert await stored(basket) == before

    @pytest.mark.parametrize("first", [PAID, DECLINED])
    async def test_the_other_outcome_after_settlement_is_refused(self, first: int) -> None:
        """Paid after declined, declined after paid: 422."""
        _, event = await ordered_basket()
        await orders.settle(decided(event, first))
        with pytest.raises(Contradiction, match="but is settled"):
            await orders.settle(decided(event, DECLINED if first == PAID else PAID))

    async def test_a_reason_is_stored_as_it_is(self) -> None:
        """A reason that looks like a field path is text."""
        basket, event = await ordered_basket()
        await orders.settle(decided(event, DECLINED, reason="$user"))
        assert (await stored(basket))["reason"] == "$user"


async def age(basket: str, age_s: float) -> None:
    """Make a basket look as if it had been ordered and last sent that long ago."""
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    await collection("orders", "baskets").update_one(
        {"_id": ObjectId(basket)}, {"$set": {"ordered_at": at, "resend_at": datetime.now(UTC) - timedelta(seconds=1)}}
    )


class TestOutcomes:
    async def test_a_basket_keeps_the_declines_before_its_latest_order_and_no_more_than_16(self) -> None:
        """Older ones are known to be declined, and no longer why."""
        basket = await new_basket()
        for attempt in range(1, 19):
            event = (await order(basket, attempt, attempt)).event
            assert event is not None
            await orders.settle(decided(event, DECLINED, reason=f"reason {attempt}"))
        document = await stored(basket)
        kept = [(each["attempt"], each["sum"], each["reason"]) for each in document["declines"]]
        assert kept == [(attempt, attempt, f"reason {attempt}") for attempt in range(2, 18)]
        told = [await self._told(basket, attempt) for attempt in (1, 2, 18, 19)]
        assert told == [("declined", ""), ("declined", "other"), ("declined", "other"), ("none", "")]

    async def test_a_first_order_keeps_no_declines(self) -> None:
        """Most baskets are paid at once, and stay as small as they were."""
        basket, _ = await ordered_basket()
        assert "declines" not in await stored(basket)

    async def _told(self, basket: str, attempt: int) -> tuple[str, str]:
        answer = await orders.show_order(GetOrderRequest(user="Pavel", basket=basket, attempt=attempt))
        return answer.outcome, answer.decline_code


class TestResend:
    async def test_a_basket_just_ordered_is_not_due(self) -> None:
        """The usual way to billing and back is given a minute."""
        await ordered_basket()
        assert await orders.claim_due() is None

    async def test_a_basket_that_is_due_is_claimed_once(self) -> None:
        """Two ticks share the work; the event is the one that was sent before."""
        basket, event = await ordered_basket()
        document = await stored(basket)
        await collection("orders", "baskets").update_one(
            {"_id": ObjectId(basket)}, {"$set": {"resend_at": datetime.now(UTC) - timedelta(seconds=1)}}
        )
        claims = await asyncio.gather(orders.claim_due(), orders.claim_due())
        assert sorted(claim is None for claim in claims) == [False, True]
        claimed = next(claim for claim in claims if claim is not None)
        assert claimed.event.SerializeToString() == event.SerializeToString()
        assert (await stored(basket))["ordered_at"] == document["ordered_at"]

    @pytest.mark.parametrize(
        ("age_s", "wait_s"), [(1, 60), (60, 60), (120, 120), (1000, 1000), (3600, 3600), (100_000, 3600)]
    )
    async def test_waits_are_as_long_as_the_baskets_age(self, age_s: float, wait_s: float) -> None:
        """So they double, without a counter, from a minute to an hour."""
        basket, _ = await ordered_basket()
        await age(basket, age_s)
        assert await orders.claim_due() is not None
        next_in = (await stored(basket))["resend_at"] - datetime.now(UTC)
        assert abs(next_in - timedelta(seconds=wait_s)) < timedelta(seconds=5)

    async def test_the_longest_due_comes_first(self) -> None:
        """Hopeless baskets, just claimed, do not keep the others waiting."""
        events = []
        for number in range(5):
            basket = await new_basket(f"user {number}")
            events.append((await order(basket, user=f"user {number}")).event)
            at = datetime.now(UTC) - timedelta(seconds=100 - number)
            await collection("orders", "baskets").update_one(
                {"_id": ObjectId(basket)}, {"$set": {"ordered_at": at, "resend_at": at}}
            )
        claimed = [await orders.claim_due() for _ in range(6)]
        assert [claim and claim.event.basket for claim in claimed] == [*(event.basket for event in events), None]

    async def test_ticks_at_once_claim_each_due_basket_once_and_leave_none(self) -> None:
        """However many look at the same first one: who comes too late for it takes another."""
        for number in range(30):
            basket = await new_basket(f"user {number}")
            await order(basket, user=f"user {number}")
            await age(basket, 100 + number)
        claimed = await asyncio.gather(*(orders.claim_due() for _ in range(32)))
        assert sorted(due.event.user for due in claimed if due) == sorted(f"user {number}" for number in range(30))

    async def test_a_claim_that_came_too_late_for_all_it_found_looks_again(self) -> None:
        """All see the same one first; nobody goes away while there is another."""
        for number in range(4):
            basket = await new_basket(f"user {number}")
            await order(basket, user=f"user {number}")
            await age(basket, 100 + number)
        claimed = await asyncio.gather(*(orders.claim_due(candidates=1) for _ in range(4)))
        assert sorted(due.event.user for due in claimed if due) == [f"user {number}" for number in range(4)]

    @pytest.mark.parametrize("make", [declined_basket, paid_basket])
    async def test_what_is_settled_is_never_resent(self, make) -> None:
        """Settlement takes `resend_at` away."""
        await make()
        assert await orders.claim_due() is None

    async def test_looking_for_due_baskets_does_not_look_at_the_others(self) -> None:
        """The partial index is used, and bounded by the time: 500 that are not due cost nothing."""
        baskets = collection("orders", "baskets")
        later = datetime.now(UTC) + timedelta(hours=1)
        await baskets.insert_many(
            {"user": str(n), "number": Int64(1), "status": "ordered", "attempt": Int64(1), "resend_at": later}
            for n in range(500)
        )
        async with counted() as commands:
            assert await orders.claim_due() is None
        (sent,) = commands.sent
        command = {key: sent[key] for key in ("find", "filter", "sort", "projection", "limit")}
        plan = await database("orders").command("explain", command, verbosity="executionStats")
        assert plan["executionStats"]["totalDocsExamined"] == 0
        assert plan["executionStats"]["totalKeysExamined"] <= 1
