"""Archives that functions of 67d5614 and of today fill by turns: every entry is counted once, and none is forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from proof.upgrade import books
from proof.upgrade.kept import Emitted
from proof.upgrade.served import Functions
from shop.messages import event_id, happened_at, rfc3339
from shop.orders import payment_requested

USER = "Анна"


@pytest.fixture
async def anna(shop: Functions) -> str:
    """Make a customer with money."""
    await shop.create_user(USER)
    await shop.deposit(USER, 10_000, "first")
    return USER


_LONG = [pytest.param(turns, marks=pytest.mark.long) for turns in ("no" * 6, "oooooonnnnnnoooooo")]


@pytest.mark.parametrize("turns", ["nnoonnoo" * 2, *_LONG])
async def test_moves_by_turns_are_counted_right(
    shop: Functions, yesterday: Functions, client: MongoClient[Any], anna: str, turns: str
) -> None:
    """Payments and deposits go to old (o) and new (n) functions, the last ones to new: then all counts are right."""
    for number, turn in enumerate(turns):
        version = shop if turn == "n" else yesterday
        assert await shop.order(anna, 1 + number, decided_by=version) == "paid"
        assert (await version.deposit(anna, 100 + number, f"{number}")).status == 200
        # 67d5614 does not count the paid baskets it moves; all else is right at any time.
        assert [each for each in books.wrong_of(client, anna) if not each.startswith("archived.paid_baskets is")] == []
    for number in range(4):
        assert await shop.order(anna, 50 + number) == "paid"
        assert (await shop.deposit(anna, 1, f"last-{number}")).status == 200
    assert books.wrong_of(client, anna) == []
    _positions_are_distinct(client, anna)
    balance = (await shop.account(anna))["balance"]
    for number in range(len(turns)):
        for version in (shop, yesterday):
            answer = await version.deposit(anna, 100 + number, f"{number}")
            assert (answer.status, answer.headers.get("Idempotent-Replayed")) == (200, "true")
    assert (await shop.account(anna))["balance"] == balance


def _positions_are_distinct(client: MongoClient[Any], user: str) -> None:
    archived = client.billing.users.find_one({"_id": user})["archived"]
    for name in archived.keys() & {"paid_baskets", "deposits"}:
        positions = [entry["position"] for entry in client.billing[name].find({"user": user}) if "position" in entry]
        assert len(set(positions)) == len(positions), sorted(positions)
        assert max(positions) == archived[name]


def requested(basket: dict[str, Any]) -> Emitted:
    """Return the event that asked for a basket's payment, built from what is stored."""
    event = payment_requested(basket)
    headers = {
        "content-type": "application/protobuf",
        "ce-specversion": "1.0",
        "ce-id": event_id(event),
        "ce-type": event.DESCRIPTOR.full_name,
        "ce-source": "/orders",
        "ce-subject": event.basket,
        "ce-time": rfc3339(happened_at(event)),
    }
    return headers, event.SerializeToString(deterministic=True)


@contextmanager
def moves_die_halfway(client: MongoClient[Any]) -> Iterator[None]:
    """Fail each update but the first: a move inserts into the archive, and does not come to its second step."""
    fail = {"failCommands": ["update"], "errorCode": 8, "appName": "billing_handler"}
    client.admin.command({"configureFailPoint": "failCommand", "mode": {"skip": 1}, "data": fail})
    try:
        yield
    finally:
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


async def test_a_move_that_an_old_function_ends_for_a_new_one_is_whole(
    shop: Functions, yesterday: Functions, client: MongoClient[Any], anna: str
) -> None:
    """Today's inserted into the archive and died, 67d5614's pulled: what was moved is answered at once, and counted."""
    for number in range(5):
        assert await shop.order(anna, 1 + number) == "paid"
    with moves_die_halfway(client):
        assert await shop.order(anna, 6) == "paid"
    account = client.billing.users.find_one({"_id": anna})
    assert len(account["paid_baskets"]) == 4
    assert client.billing.paid_baskets.count_documents({"user": anna}) == 4
    assert await shop.order(anna, 7, decided_by=yesterday) == "paid"
    assert len(client.billing.users.find_one({"_id": anna})["paid_baskets"]) == 3

    before = client.billing.users.find_one({"_id": anna})
    for basket in client.orders.baskets.find({"user": anna, "number": {"$lte": 6}}):
        answer = await shop.deliver("billing_handler", *requested(basket))
        assert answer.status == 200, (basket["number"], answer)
        assert [headers["ce-id"] for headers, _ in shop.emitted()] == [f"{basket['_id']}.1"]
    assert client.billing.users.find_one({"_id": anna}) == before

    for number in range(4):
        assert await shop.order(anna, 8 + number) == "paid"
    assert books.wrong_of(client, anna) == []
    _positions_are_distinct(client, anna)


@pytest.mark.parametrize("turns", ["nnnnnnoooo", "oooooonnnn", "nonononono"])
async def test_what_is_missing_from_a_mixed_archive_is_not_charged_again(
    shop: Functions, yesterday: Functions, client: MongoClient[Any], anna: str, turns: str
) -> None:
    """The archive is from an older backup; whoever moved last, what it lacks is for somebody to look into."""
    for number, turn in enumerate(turns):
        assert await shop.order(anna, 1 + number, decided_by=shop if turn == "n" else yesterday) == "paid"
    lost = client.billing.paid_baskets.find_one_and_delete({"user": anna}, sort=[("number", -1)])
    before = client.billing.users.find_one({"_id": anna})
    basket = client.orders.baskets.find_one({"_id": lost["basket"]})
    answer = await shop.deliver("billing_handler", *requested(basket))
    assert answer.status == 503
    assert "Retry-After" not in answer.headers
    assert shop.emitted() == []
    assert client.billing.users.find_one({"_id": anna}) == before
