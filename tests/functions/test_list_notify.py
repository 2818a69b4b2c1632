"""GET /List shows what customers were told, in pages."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import Int64, ObjectId

from shop.store.client import collection
from tests.functions.conftest import Client

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


async def notified(count: int, *, users: tuple[str, ...] = ("Pavel",), every: timedelta = timedelta(0)) -> list[str]:
    """Store notifications, the users in turn; return their ids, oldest first."""
    ids = [f"{ObjectId(f'{number:024x}')}.1" for number in range(count)]
    await collection("notify", "notifications").insert_many(
        {
            "_id": id_,
            "user": users[number % len(users)],
            "basket": ObjectId(id_.partition(".")[0]),
            "attempt": Int64(1),
            "sum": Int64(10),
            "outcome": "paid" if number % 2 == 0 else "declined",
            "reason": "" if number % 2 == 0 else "insufficient funds",
            "decided_at": NOON,
            "recorded_at": NOON + number * every,
        }
        for number, id_ in enumerate(ids)
    )
    return ids


async def pages(client: Client, **fields: object) -> list[list[str]]:
    """Follow `next` to the end; return the ids of each page, latest page first."""
    found, before = [], None
    for _ in range(100):
        answer = (await client.get("/List", {**fields, "before": before})).json
        found.append([notification["id"] for notification in answer["notifications"]])
        before = answer["next"]
        if before is None:
            return found
    raise AssertionError("there is always a next page")


async def test_an_empty_list_is_empty_text(client: Client) -> None:
    """No notifications, no next page."""
    answer = await client.get("/List", {})
    assert answer.json == {"status": True, "message": "", "log": [], "notifications": [], "next": None}
    assert (await client.get("/List", accept="text/plain")).text == ""


async def test_a_notification_has_the_line_of_the_seed_and_all_its_fields(client: Client) -> None:
    """A decline beside a payment, oldest first."""
    await client.user(balance=15)
    for _ in range(2):
        await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": await client.basket()})
        await client.deliver()
    answer = (await client.get("/List", {"user": "Pavel", "sum": 10})).json
    assert answer["log"] == ["user Pavel result true", "user Pavel result false"]
    assert answer["message"] == "user Pavel result true\nuser Pavel result false"
    paid, declined = answer["notifications"]
    assert (paid["user"], paid["attempt"], paid["sum"], paid["outcome"], paid["reason"]) == ("Pavel", 1, 10, "paid", "")
    assert (declined["outcome"], declined["reason"]) == ("declined", "insufficient funds")
    assert paid["id"] == f"{paid['basket']}.1"


async def test_the_latest_100_are_the_page_when_nothing_is_asked_for(client: Client) -> None:
    """Oldest first within it; `next` leads to the older ones."""
    ids = await notified(101, every=timedelta(seconds=1))
    assert await pages(client) == [ids[1:], ids[:1]]


@pytest.mark.parametrize("every", [timedelta(0), timedelta(milliseconds=1), timedelta(milliseconds=100)], ids=str)
@pytest.mark.parametrize("limit", [1, 3, 7, 8, 1000])
async def test_pages_have_each_notification_once(client: Client, limit: int, every: timedelta) -> None:
    """Of equal times, too, for the id orders those."""
    ids = await notified(7, every=every)
    found = await pages(client, limit=limit)
    assert [id_ for page in reversed(found) for id_ in page] == ids
    assert {len(page) for page in found[:-1]} <= {limit}


async def test_a_user_sees_its_own_and_no_user_sees_all(client: Client) -> None:
    """Of an unknown user there is nothing; names that mean something to MongoDB do not."""
    ids = await notified(6, users=("Pavel", "$balance", "Павел"))
    assert await pages(client, user="Pavel") == [ids[::3]]
    assert await pages(client, user="$balance", limit=1) == [ids[4:5], ids[1:2]]
    assert await pages(client, user="Павел") == [ids[2::3]]
    assert await pages(client, user="Olga") == [[]]
    assert await pages(client) == [ids]


async def test_a_page_is_not_moved_by_newer_notifications(client: Client) -> None:
    """Who reads on reads what was older then."""
    ids = await notified(4, every=timedelta(seconds=1))
    first = (await client.get("/List", {"limit": 2})).json
    await collection("notify", "notifications").update_one(
        {"_id": ids[3]}, {"$set": {"recorded_at": NOON + timedelta(hours=1)}}
    )
    second = (await client.get("/List", {"limit": 2, "before": first["next"]})).json
    assert [notification["id"] for notification in second["notifications"]] == ids[:2]


@pytest.mark.parametrize(
    "before",
    [
        *("", "x", "2026-08-01T12:00:00Z", "2026-08-01T12:00:00Z_", "2026-13-01T12:00:00Z_" + "a" * 24 + ".1"),
        *("2026-08-01T12:00:00Z_" + "a" * 24 + ".1\n", "2026-08-01T12:00:00Z_" + "A" * 24 + ".1", "\ud800", "$next"),
        *("2026-08-01T12:00:00+02:00_" + "a" * 24 + ".1", "0000-01-01T00:00:00Z_" + "a" * 24 + ".1"),
    ],
)
async def test_a_cursor_that_no_page_gave_is_422(client: Client, before: str) -> None:
    """The message says where to take it from."""
    answer = await client.get("/List", {"before": before})
    assert (answer.status, answer.message.partition(" ")[0]) == (422, "before")


@pytest.mark.parametrize("accept", ["text/plain", "text/plain;q=0.9, application/json;q=0.8", "TEXT/PLAIN ; charset=x"])
async def test_a_client_that_asks_for_text_gets_the_lines_alone(client: Client, accept: str) -> None:
    """Each is ended by a line feed."""
    await notified(2)
    answer = await client.get("/List", accept=accept)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "user Pavel result true\nuser Pavel result false\n"


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "text/*", "text/plain;q=0", "text/plain, application/json", "text/plain;q=x", ",;,"],
)
async def test_any_other_client_gets_json(client: Client, accept: str) -> None:
    """Also one that takes both alike, or says what cannot be read."""
    await notified(1)
    assert (await client.get("/List", accept=accept)).json["log"] == ["user Pavel result true"]


async def test_errors_are_json_whatever_is_asked_for(client: Client) -> None:
    """One form for every failure."""
    answer = await client.get("/List", {"limit": 0}, accept="text/plain")
    assert (answer.status, answer.json["status"]) == (422, False)
