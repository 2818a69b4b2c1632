"""One notification per decision, listed in pages: the notification service's promises, on a real MongoDB."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from shop import notifications
from shop.errors import Contradiction, Impossible
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided
from shop.store.client import collection
from tests.support.commands import counted
from tests.support.meeting import meeting

pytestmark = pytest.mark.usefixtures("shop")


def decided(number: int = 1, **changed: object) -> PaymentDecided:
    fields: dict[str, object] = {
        "user": "Pavel",
        "basket": f"{number:024x}",
        "number": number,
        "attempt": 1,
        "sum": 10,
        "outcome": PAID,
        "reason": "",
        "decided_at": datetime(2026, 11, 22, 10, 0, 0, 123000, UTC),
    }
    return PaymentDecided(**(fields | changed))


async def all_lines() -> list[str]:
    return [notifications.line(notification) for notification in (await notifications.latest(None)).notifications]


class TestRecord:
    async def test_a_decision_delivered_twice_is_notified_once(self) -> None:
        """The second delivery changes nothing, the time of recording included."""
        assert await notifications.record(decided()) == "paid"
        first = (await notifications.latest("Pavel")).notifications
        assert await notifications.record(decided()) == "replayed"
        assert (await notifications.latest("Pavel")).notifications == first
        assert len(first) == 1

    async def test_it_takes_one_round_trip(self) -> None:
        """One update the first time; again, a look at what it met."""
        async with counted() as commands:
            await notifications.record(decided())
            assert commands.names == ["update"]
            await notifications.record(decided())
        assert commands.names == ["update", "update", "find"]

    async def test_fifty_concurrent_deliveries_notify_once(self) -> None:
        """None of them fails."""
        await asyncio.gather(*(notifications.record(decided()) for _ in range(50)))
        assert await collection("notify", "notifications").count_documents({}) == 1

    @pytest.mark.parametrize(
        "changed",
        [
            {"user": "Olga"},
            {"sum": 11},
            {"outcome": DECLINED},
            {"reason": "because"},
            {"decided_at": datetime(2026, 11, 22, 10, 0, 1, tzinfo=UTC)},
        ],
    )
    async def test_other_content_for_the_same_attempt_is_refused(self, changed: dict[str, object]) -> None:
        """422 with both values, and the notification stays as it was."""
        await notifications.record(decided())
        first = (await notifications.latest(None)).notifications
        with pytest.raises(Contradiction, match=next(iter(changed))):
            await notifications.record(decided(**changed))
        assert (await notifications.latest(None)).notifications == first

    async def test_what_a_notification_is_refused_for_was_confirmed_to_be_the_latest(self) -> None:
        """An upsert that changes nothing waits for nothing: what it met may be of a primary that was replaced."""
        await notifications.record(decided())

        async def replaced() -> None:  # the new primary knows nothing of it
            await collection("notify", "notifications").delete_many({})

        with meeting("notifications.find_one", replaced) as looks:
            await notifications.record(decided(sum=11))
        assert [entry["sum"] for entry in (await notifications.latest("Pavel")).notifications] == [11]
        assert looks.times == 1

    async def test_an_id_that_an_upsert_met_is_looked_at_as_it_is_now(self) -> None:
        """A duplicate key error waits for nothing either; the look that it leads to confirms the primary."""
        await notifications.record(decided())
        async with counted() as commands:
            with pytest.raises(Contradiction, match="user Pavel, not Olga"):
                await notifications.record(decided(user="Olga"))
        assert commands.names == ["update", "findAndModify", "find", "find"]
        assert all(sent["readConcern"] == {"level": "linearizable"} for sent in commands.sent[2:])

    async def test_each_attempt_has_its_own(self) -> None:
        """Declined, then paid: two notifications, in that order."""
        await notifications.record(decided(outcome=DECLINED, reason="insufficient funds"))
        await notifications.record(decided(attempt=2))
        assert await all_lines() == ["user Pavel result false", "user Pavel result true"]

    @pytest.mark.parametrize("user", ["Павел", "$user", "$$NOW", "a.b"])
    async def test_any_user_is_only_a_value(self, user: str) -> None:
        """Names that look like paths or variables are names, and the reason beside them is text."""
        await notifications.record(decided(user=user, outcome=DECLINED, reason="$$NOW"))
        await notifications.record(decided(user=user, outcome=DECLINED, reason="$$NOW"))
        (notification,) = (await notifications.latest(user)).notifications
        assert (notification["user"], notification["reason"]) == (user, "$$NOW")


class TestList:
    async def test_the_latest_come_oldest_first(self) -> None:
        """The newest page, and within it the order in which they were recorded."""
        for number in range(1, 6):
            await notifications.record(decided(number))
        page = await notifications.latest("Pavel", limit=3)
        assert [notification["_id"][22:24] for notification in page.notifications] == ["03", "04", "05"]

    async def test_pages_lead_to_the_oldest_and_miss_nothing(self) -> None:
        """Each notification once, although many were recorded in the same millisecond."""
        same = datetime(2026, 11, 22, tzinfo=UTC)
        for number in range(1, 24):
            await notifications.record(decided(number))
            at = same + timedelta(milliseconds=number // 6)
            await collection("notify", "notifications").update_one(
                {"_id": f"{number:024x}.1"}, {"$set": {"recorded_at": at}}
            )
        seen: list[str] = []
        before = None
        for _ in range(10):
            page = await notifications.latest(None, limit=4, before=before)
            seen = [notification["_id"] for notification in page.notifications] + seen
            before = page.older
            if before is None:
                break
        assert seen == [f"{number:024x}.1" for number in range(1, 24)]

    async def test_a_page_that_is_just_full_has_no_next(self) -> None:
        """`next` promises that there is something."""
        for number in range(1, 4):
            await notifications.record(decided(number))
        assert (await notifications.latest("Pavel", limit=3)).older is None

    async def test_users_see_their_own(self) -> None:
        """One user's list has nobody else's."""
        await notifications.record(decided(1))
        await notifications.record(decided(2, user="Olga"))
        assert [entry["user"] for entry in (await notifications.latest("Olga")).notifications] == ["Olga"]
        assert await all_lines() == ["user Pavel result true", "user Olga result true"]

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "2026-11-22T10:00:00Z", f"2026-13-41T10:00:00Z_{0:024x}.1", f"2026-11-22T10:00:00Z_{0:024x}"],
    )
    async def test_a_cursor_that_no_page_gave_is_refused(self, cursor: str) -> None:
        """422, and says where cursors come from."""
        with pytest.raises(Impossible, match="next"):
            await notifications.latest(None, before=cursor)
