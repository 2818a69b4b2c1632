"""Absence is never concluded from a maximum: late, forged and lost numbers, moves that race, archives that are too old.

Faults 1 to 6 and 10, of a restore, a replay or a forged event. Most run with arrays of 4 and 2, and of 64 and 32.
"""

import asyncio
from collections.abc import Callable

import pytest
from bson import Int64

from shop import billing
from shop.archive import DEPOSITS, PAID_BASKETS
from shop.errors import Code, Contradiction, Unavailable
from shop.process.settings import ArrayLimits
from shop.schema.events_pb2 import PAID
from shop.store.client import Document, collection
from tests.shop.test_billing import account, audit, decide, funded, requested
from tests.support.commands import counted
from tests.support.meeting import meeting

pytestmark = pytest.mark.usefixtures("shop", "limits")


@pytest.fixture(params=[(64, 32), (4, 2)], ids=["64/32", "4/2"])
def limits(request: pytest.FixtureRequest, configure: Callable[..., None]) -> ArrayLimits:
    """Set the arrays' limits."""
    limits = ArrayLimits(*request.param)
    configure(array_limits=limits)
    return limits


async def pay(*numbers: int) -> None:
    """Have these paid, in this order."""
    for number in numbers:
        decided = await decide(requested(number))
        assert decided is not None
        assert decided.outcome == PAID


async def archive(name: str) -> list[Document]:
    """Return an archive in the order of its positions."""
    return await collection("billing", name).find({"user": "Pavel"}, sort=[("position", 1)]).to_list()


async def test_01_a_number_that_comes_late_is_charged(limits: ArrayLimits) -> None:
    """Numbers 1..4 and 6..70 are paid, then comes 5: it was refused 422 for ever."""
    await funded(10_000)
    await pay(1, 2, 3, 4, *range(6, 71))
    assert (await account())["archived_through"] >= 6
    await pay(5)
    assert (await account())["balance"] == 10_000 - 700
    await audit()


async def test_01_a_replay_after_much_newer_history_is_answered_as_ever(limits: ArrayLimits) -> None:
    """70 of 70 were refused when 64 newer payments came before their replay."""
    await funded(10_000)
    first = [await decide(requested(number)) for number in range(1, 2 * limits.limit)]
    await pay(*range(1_000, 1_000 + limits.limit))
    assert [await decide(requested(number)) for number in range(1, 2 * limits.limit)] == first
    await audit()


async def test_02_a_forged_high_number_locks_nobody_out(limits: ArrayLimits) -> None:
    """One event with number 10^9 made every payment fail from the 64th on."""
    await funded(10_000)
    await decide(requested(10**9, basket="e" * 24))
    await pay(*range(1, 2 * limits.limit + 2))
    assert (await account())["archived_through"] == 10**9
    await audit()


async def test_03_a_number_given_again_by_restored_orders_is_charged_for_its_new_basket(limits: ArrayLimits) -> None:
    """GetBasket gives number 2 again while billing has archived it: the customer was locked out."""
    await funded(10_000)
    await pay(*range(1, limits.limit + 1))
    again = await decide(requested(2, basket="f" * 24))
    assert again is not None
    assert again.outcome == PAID
    assert (await account())["balance"] == 10_000 - 10 * (limits.limit + 1)
    await audit()


async def test_04_of_many_moves_of_the_same_entries_one_counts(limits: ArrayLimits) -> None:
    """Out of order, `archived_through` stays as it was; the sum was counted by each of many deliveries."""
    await funded(10_000)
    await pay(10**6)  # archived first, so the highest number never rises again
    await pay(*range(1, limits.limit))
    for number in range(limits.limit, limits.limit + 2 * limits.batch + 2):
        decisions = await asyncio.gather(*(billing.decide(requested(number)) for _ in range(10)))
        await asyncio.gather(*(PAID_BASKETS.bound(decision.account) for decision in decisions))
    archived = (await account())["archived"]
    entries = await archive("paid_baskets")
    assert (archived["paid_baskets"], archived["paid"]) == (len(entries), 10 * len(entries))
    assert [entry["position"] for entry in entries] == list(range(1, len(entries) + 1))
    await audit()


async def test_05_an_old_key_is_not_credited_again_when_the_archive_is_too_old(
    limits: ArrayLimits, caplog: pytest.LogCaptureFixture
) -> None:
    """The archive is of an older backup than the accounts: 503, and the log says what to do."""
    await billing.create_user("Pavel")
    for number in range(2 * limits.limit):
        await billing.deposit("Pavel", 10, f"key {number}")
    before = await account()
    assert before["archived"]["deposits"] > limits.batch
    last_move = {"user": "Pavel", "position": {"$gt": Int64(limits.batch)}}
    await collection("billing", "deposits").delete_many(last_move)
    lost = f"key {limits.batch}"
    for key in (lost, "a new key"):
        with pytest.raises(Unavailable, match="history is not complete") as refused:
            await billing.deposit("Pavel", 10, key)
        assert not refused.value.code.retryable
    assert (await billing.deposit("Pavel", 10, "key 0")).replayed  # presence needs no proof
    assert await account() == before
    assert "Restore both as of one moment" in caplog.text


async def test_05_no_move_hides_what_the_archive_lacks(limits: ArrayLimits) -> None:
    """Deposits without a key go on; the array grows rather than that a gap is built over."""
    await billing.create_user("Pavel")
    for number in range(2 * limits.limit):
        await billing.deposit("Pavel", 10, f"key {number}")
    await collection("billing", "deposits").delete_many({"position": {"$gt": Int64(limits.batch)}})
    for _ in range(2 * limits.limit):
        await billing.deposit("Pavel", 10, None)
    with pytest.raises(Unavailable, match="history is not complete"):
        await billing.deposit("Pavel", 10, f"key {limits.batch}")
    assert (await account())["balance"] == 40 * limits.limit


async def test_a_basket_is_not_charged_again_when_the_archive_is_too_old(limits: ArrayLimits) -> None:
    """The same for paid baskets: neither charged nor refused for good."""
    await funded(10_000)
    await pay(*range(1, 2 * limits.limit + 1))
    await collection("billing", "paid_baskets").delete_many({"position": {"$gt": Int64(limits.batch)}})
    before = await account()
    with pytest.raises(Unavailable, match="history is not complete"):
        await billing.decide(requested(limits.batch + 1))
    assert await account() == before
    await pay(1)  # it is there


async def test_an_archive_that_is_ahead_of_its_account_is_no_proof_either(
    limits: ArrayLimits, caplog: pytest.LogCaptureFixture
) -> None:
    """The accounts are of an older backup than the archive: what they never moved is neither paid nor unpaid."""
    await funded(10_000)
    await pay(*range(1, limits.limit + 1))
    users = collection("billing", "users")
    older = await account()
    await pay(*range(limits.limit + 1, 2 * limits.limit + 1))
    await users.replace_one({"_id": "Pavel"}, {**older, "archived_through": Int64(10**6)})
    moved_since = older["paid_baskets"][0]["number"] + len(older["paid_baskets"])
    with pytest.raises(Unavailable, match="history is not complete") as refused:
        await billing.decide(requested(moved_since))
    assert not refused.value.code.retryable
    assert (await account())["balance"] == older["balance"]
    assert "Restore both as of one moment" in caplog.text


async def test_a_key_that_only_a_newer_archive_knows_is_neither_credited_nor_replayed(
    limits: ArrayLimits, caplog: pytest.LogCaptureFixture
) -> None:
    """The same for deposits: no loop helps a client, so it is not told to repeat."""
    await billing.create_user("Pavel")
    for number in range(limits.limit + 1):
        await billing.deposit("Pavel", 10, f"key {number}")
    older = await account()
    assert older["archived"]["deposits"]
    for number in range(limits.limit + 1, 3 * limits.limit):
        await billing.deposit("Pavel", 10, f"key {number}")
    await collection("billing", "users").replace_one({"_id": "Pavel"}, older)
    with pytest.raises(Unavailable, match="history is not complete") as refused:
        await billing.deposit("Pavel", 10, f"key {limits.limit + 1}")
    assert not refused.value.code.retryable
    assert await account() == older
    assert "Restore both as of one moment" in caplog.text


@pytest.mark.parametrize("entry_is_found", [True, False], ids=["in the archive", "moved, then lost"])
async def test_what_was_paid_and_moved_since_the_look_is_not_charged_again(
    limits: ArrayLimits, entry_is_found: bool
) -> None:
    """The update after the look is conditional on nothing having been moved; else there is another look."""
    await funded(10_000)
    await pay(*range(10, limits.limit + 10))
    late = requested(1)

    async def others() -> None:
        if look.times == 1:  # another delivery is decided, and its entry moved, right after this look
            await pay(1, *range(1_000, 1_000 + limits.limit))
            if not entry_is_found:
                await collection("billing", "paid_baskets").delete_one({"number": 1})
                await collection("billing", "paid_baskets").delete_many({"position": {"$gt": limits.batch + 1}})

    before = 10_000 - 10 * (2 * limits.limit + 1)
    with meeting("paid_baskets.find", others, after=True) as look:
        if entry_is_found:
            decision = await billing.decide(late)
            assert decision.event is not None
            assert decision.event.outcome == PAID
            assert look.times == 2
        else:
            with pytest.raises(Unavailable):
                await billing.decide(late)
    assert (await account())["balance"] == before


async def test_a_look_costs_one_lookup_and_the_update_again(limits: ArrayLimits) -> None:
    """Three round trips more than for a number above `archived_through`, two for a duplicate, whatever the history."""
    await funded(10_000)
    await pay(*range(1, 2 * limits.limit + 1))
    async with counted() as commands:
        await billing.decide(requested(1))
        assert commands.names == ["findAndModify", "findAndModify", "find"]
        commands.names.clear()
        await billing.decide(requested(1, basket="f" * 24))
        assert commands.names == ["findAndModify", "findAndModify", "find", "findAndModify"]
        commands.names.clear()
        await billing.credit("Pavel", 10, "a new key")
        assert commands.names == ["findAndModify"]


async def test_the_look_is_of_this_user_in_the_session_of_the_update(limits: ArrayLimits) -> None:
    """It sees at least what the update saw; another user's basket of the same id is nobody else's."""
    await funded(10_000)
    await pay(*range(1, limits.limit + 1))
    await collection("billing", "paid_baskets").insert_one(
        {**(await archive("paid_baskets"))[0], "_id": "other", "user": "Olga", "basket": billing.ObjectId("d" * 24)}
    )
    async with counted() as commands:
        decision = await billing.decide(requested(1, basket="d" * 24))
    assert decision.event is not None
    _, update, look, again = commands.sent
    assert look["filter"]["user"] == "Pavel"
    assert update["lsid"] == look["lsid"] == again["lsid"]
    assert "afterClusterTime" in look["readConcern"]


async def test_no_move_is_made_beside_entries_of_another_history(
    limits: ArrayLimits, caplog: pytest.LogCaptureFixture
) -> None:
    """The accounts are of an older backup than the archive, where a basket was paid otherwise: answers stay true."""
    await funded(10_000)
    stranger = {"user": "Pavel", "basket": billing.ObjectId(f"{1:024x}"), "number": Int64(1), "attempt": Int64(3)}
    stranger |= {"sum": Int64(99), "paid_at": (await account())["deposits"][0]["at"]}
    stranger |= {"position": Int64(1), "through": Int64(99)}
    await collection("billing", "paid_baskets").insert_one(stranger)
    first = await decide(requested(1))
    await pay(*range(2, 2 * limits.limit))
    assert await decide(requested(1)) == first
    document = await account()
    assert len(document["paid_baskets"]) == 2 * limits.limit - 1
    assert "archived" not in document
    assert "Restore both as of one moment" in caplog.text


async def test_a_move_that_a_crash_left_halfway_is_no_stranger(limits: ArrayLimits) -> None:
    """Whoever comes next ends it, also with other limits."""
    await funded(10_000)
    await pay(*range(1, limits.limit))
    decision = await billing.decide(requested(limits.limit))
    inserted, through = [], 0
    for position, entry in enumerate((await account())["paid_baskets"], 1):  # of a process that moves all at once
        through += entry["sum"]
        inserted.append({**entry, "user": "Pavel", "position": Int64(position), "through": Int64(through)})
    await collection("billing", "paid_baskets").insert_many(inserted)
    await PAID_BASKETS.bound(decision.account)
    assert (await account())["archived"]["paid_baskets"] == limits.batch
    await audit()


async def test_a_move_of_what_came_later_is_no_stranger(limits: ArrayLimits, caplog: pytest.LogCaptureFixture) -> None:
    """Another process, with larger limits, is moving more than the array held when this one read it."""
    await funded(10_000)
    await pay(*range(1, limits.limit))
    await billing.decide(requested(limits.limit))
    older = await account()
    await billing.decide(requested(limits.limit + 1))
    newer = await account()
    await collection("billing", "paid_baskets").insert_many(
        {**entry, "user": "Pavel", "position": Int64(position), "through": Int64(10 * position)}
        for position, entry in enumerate(newer["paid_baskets"], 1)
    )
    await PAID_BASKETS.bound(older)
    assert await account() == newer
    assert caplog.text == ""
    await PAID_BASKETS.bound(newer)
    assert (await account())["archived"]["paid_baskets"] == limits.batch
    await audit()


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "under way"])
async def test_a_move_of_67d5614_during_the_look_is_no_other_history(ended: bool) -> None:
    """It marks no entry: the archive is added up, and holds more than the account said. So that is read again."""

    async def old_move(*, ended: bool) -> None:
        entries = (await account())["deposits"]
        await collection("billing", "deposits").insert_many({**entry, "user": "Pavel"} for entry in entries)
        if ended:
            moved = {"archived.deposits": Int64(len(entries)), "archived.deposited": Int64(10 * len(entries))}
            changes = {"$pull": {"deposits": {}}, "$inc": moved}
            await collection("billing", "users").update_one({"_id": "Pavel"}, changes)

    async def others() -> None:
        if look.times == 1:
            await billing.credit("Pavel", 10, "3")
            await old_move(ended=ended)

    await billing.create_user("Pavel")
    await billing.credit("Pavel", 10, "1")
    await old_move(ended=True)
    await billing.credit("Pavel", 10, "2")
    with meeting("deposits.find", others) as look:
        assert not (await billing.credit("Pavel", 10, "4")).replayed
    assert (await account())["balance"] == 40


class TestFailure:
    """Whatever befalls a move, the answer is certain already."""

    @pytest.mark.parametrize(
        "error", [RuntimeError("a bug"), asyncio.CancelledError(), Unavailable(Code.DATABASE_UNAVAILABLE, "later")]
    )
    async def test_it_never_takes_the_answer_s_place(
        self, error: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not even the function's deadline, which ends it by a cancellation."""

        async def fail() -> None:
            raise error

        entries = [{"key": str(number), "sum": 1} for number in range(64)]
        with meeting("deposits.bulk_write", fail):
            await DEPOSITS.bound({"_id": "Pavel", "deposits": entries})
        assert "the next message tries again" in caplog.text


class TestSuccessor:
    """In sound operation billing has decided every attempt of a basket before (fault 6)."""

    async def test_06_a_forged_attempt_is_refused_and_not_remembered(self) -> None:
        """Attempt 2^62 of a sum that cannot be paid was remembered as a decline; the honest order then hung."""
        await funded(100)
        before = await account()
        for attempt in (2, 3, 2**62, 2**63 - 2):
            with pytest.raises(Contradiction, match="never declined"):
                await billing.decide(requested(attempt=attempt, sum_=10**12))
        assert await account() == before
        await pay(1)

    async def test_06_nothing_is_made_for_a_user_who_is_not_there(self) -> None:
        """No document, not even an empty one."""
        with pytest.raises(Contradiction):
            await billing.decide(requested(attempt=2))
        assert await collection("billing", "users").count_documents({}) == 0

    async def test_06_an_attempt_follows_the_declined_one_of_its_basket(self) -> None:
        """The next after a decline, of the same basket; no other."""
        await funded(5)
        await decide(requested())
        for forged in (requested(attempt=3), requested(2, attempt=2, basket="f" * 24)):
            with pytest.raises(Contradiction, match="never declined"):
                await billing.decide(forged)
        await billing.credit("Pavel", 100, None)
        decided = await decide(requested(attempt=2))
        assert decided is not None
        assert decided.outcome == PAID

    async def test_the_same_basket_under_another_number_is_refused(self) -> None:
        """An honest event has one number for ever."""
        await funded(100)
        await pay(1)
        with pytest.raises(Contradiction, match="number 7"):
            await billing.decide(requested(7, basket=f"{1:024x}"))


class TestEpochs:
    """After a restore of orders alone it asks for attempts that billing has left behind (fault 10)."""

    async def test_10_an_older_attempt_of_a_later_epoch_is_refused(self) -> None:
        """Answered 200, its order waited for ever; a dead letter is seen. Within one epoch it is an old delivery."""
        await funded(5)
        await decide(requested())
        await decide(requested(attempt=2))
        assert await decide(requested(attempt=1)) is None
        again = requested(attempt=1)
        again.epoch = 1
        with pytest.raises(Contradiction, match="orders was restored"):
            await billing.decide(again)

    async def test_a_decision_of_a_later_epoch_remembers_it(self) -> None:
        """So it is told apart from one before; in epoch 0 nothing is stored, as ever."""
        await funded(15)
        await pay(1)
        later = requested(2)
        later.epoch = 3
        await decide(later)
        document = await account()
        assert "epoch" not in document["paid_baskets"][0]
        assert document["declined"]["epoch"] == 3
