"""Every statement of every function names its user, so that a sharded MongoDB takes it.

`tests/support/asgi.py` looks at each statement of each call of a function, in all tests. Here every function sends
every kind of statement that it has.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, ObjectId

from shop.process import process
from shop.schema.events_pb2 import PaymentDecided
from shop.store.client import collection
from tests.functions.conftest import Client
from tests.support.asgi import Answer, call
from tests.support.sink import Received
from tests.support.statements import FREE_READS, SENT, names_its_user, watching

BEYOND_THE_ARRAYS = 65
"""Payments and deposits after which the oldest are in the archives."""


async def redeliver(event: Received, function: str) -> int:
    return (await call(function, headers=event.headers, body=event.body)).status


async def pay(client: Client, sum_: int = 1) -> Received:
    """Order the current basket, deliver all events, and return the one that asked for the payment."""
    answer = await client.post("/Order", {"user": "Pavel", "sum": sum_, "basket": await client.basket()})
    assert answer.status == 200
    event = client.sink.received[0]
    await client.deliver()
    return event


async def remember_more_payments() -> None:
    """Fill the account's array after its first payment, so that the next one sends it to the archive."""
    users = collection("billing", "users")
    (account,) = await users.find({"_id": "Pavel"}).to_list()
    (paid,) = account["paid_baskets"]
    more = [{**paid, "basket": ObjectId(), "number": Int64(1)} for _ in range(BEYOND_THE_ARRAYS)]
    await users.update_one({"_id": "Pavel"}, {"$push": {"paid_baskets": {"$each": more}}})


async def tick() -> Answer:
    return await call("resend_orders", headers=[("ce-id", "tick")], body=b"{}")


async def test_every_statement_of_every_function_names_its_user(client: Client) -> None:
    """The first time and again, from the archives too; but for a List of all, and the question who is due."""
    SENT.clear()
    await client.user(balance=100)
    for number in range(BEYOND_THE_ARRAYS):
        await client.post("/DepositCash", {"user": "Pavel", "sum": 1}, Idempotency_Key=str(number))
    assert (await client.post("/DepositCash", {"user": "Pavel", "sum": 1}, Idempotency_Key="0")).status == 200
    await client.query("/GetUser", {"user": "Pavel"})
    first = await pay(client)
    await remember_more_payments()
    await pay(client)
    assert await redeliver(first, "billing_handler") == 200
    client.sink.received.clear()
    await pay(client, sum_=10_000)
    await client.query("/GetOrder", {"user": "Pavel", "basket": await client.basket()})
    await client.query("/List", {"user": "Pavel"})
    await client.query("/List", {})
    await client.post("/Order", {"user": "Pavel", "sum": 1, "basket": await client.basket()})
    await collection("orders", "baskets").update_one(
        {"status": "ordered"}, {"$set": {"resend_at": datetime(2026, 1, 1, tzinfo=UTC)}}
    )
    assert (await tick()).status == 200
    assert len(client.sink.received) == 2
    sent = {function: {what for what in sent if not what.endswith(" meta")} for function, sent in SENT.items()}
    assert sent == {
        "create_user": {"findAndModify users"},
        "deposit_cash": {"findAndModify users", "find deposits", "update deposits", "update users"},
        "get_user": {"find users"},
        "get_basket": {"find baskets", "update baskets"},
        "create_order": {"findAndModify baskets"},
        "get_order": {"find baskets"},
        "billing_handler": {
            "findAndModify users",
            "find users",
            "find paid_baskets",
            "update paid_baskets",
            "update users",
        },
        "order_handler": {"update baskets"},
        "notify_handler": {"update notifications"},
        "list_notify": {"find notifications"},
        "resend_orders": {"find baskets", "findAndModify baskets"},
    }


async def test_what_is_refused_is_looked_at_by_its_user_too(client: Client) -> None:
    """Before a refusal the latest state is read; that names the user as the update did."""
    await client.user(balance=10)
    basket = await client.basket()
    SENT.clear()
    assert (await client.post("/Order", {"user": "Pavel", "sum": 1, "basket": basket, "attempt": 5})).status == 422
    assert (await client.post("/DepositCash", {"user": "Olga", "sum": 1})).status == 404
    await client.post("/Order", {"user": "Pavel", "sum": 1, "basket": basket, "attempt": 1})
    assert await redeliver(client.sink.received[0], "billing_handler") == 200
    decision = client.sink.received[1]
    forged = PaymentDecided.FromString(decision.body)
    forged.sum = 2
    for body, function, status in (
        (forged.SerializeToString(), "order_handler", 422),
        (decision.body, "notify_handler", 200),
        (forged.SerializeToString(), "notify_handler", 422),
    ):
        assert (await call(function, headers=decision.headers, body=body)).status == status
    for function, what in (
        ("create_order", "baskets"),
        ("deposit_cash", "users"),
        ("order_handler", "baskets"),
        ("notify_handler", "notifications"),
    ):
        assert f"find {what}" in SENT[function]


async def test_a_notification_of_another_user_is_a_contradiction(client: Client) -> None:
    """The upsert names the forged user and meets the id of an honest one: refused, as it is without sharding."""
    await client.user(balance=10)
    basket = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 1, "basket": basket, "attempt": 1})
    assert await redeliver(client.sink.received[0], "billing_handler") == 200
    decision = client.sink.received[1]
    assert await redeliver(decision, "notify_handler") == 200
    forged = PaymentDecided.FromString(decision.body)
    forged.user = "Olga"
    answer = await call("notify_handler", headers=decision.headers, body=forged.SerializeToString())
    assert (answer.status, answer.text) == (422, f"other_content: {basket}.1 was notified with user Pavel, not Olga")


PAVEL = {"_id": ObjectId(), "user": "Pavel"}


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ({"find": "baskets", "filter": PAVEL}, True),
        ({"find": "baskets", "filter": {"user": {"$in": ["Pavel", "Olga"]}}}, True),
        ({"find": "baskets", "filter": {"user": {"$in": ["Pavel", None]}}}, False),
        ({"find": "baskets", "filter": {"user": {"$in": []}}}, False),
        ({"find": "baskets", "filter": {"_id": ObjectId()}}, False),
        ({"find": "baskets", "filter": {"user": {"$gte": "Pavel"}}}, False),
        ({"find": "baskets", "filter": {"$or": [PAVEL, PAVEL]}}, True),
        ({"find": "baskets", "filter": {"$or": [PAVEL, {"_id": ObjectId()}]}}, False),
        ({"update": "baskets", "updates": [{"q": {"user": {"$in": ["Pavel"]}}}]}, False),
        ({"findAndModify": "baskets", "query": PAVEL}, True),
        ({"findAndModify": "baskets", "query": {"user": {"$in": ["Pavel"]}}}, False),
        ({"findAndModify": "baskets", "query": {"status": "ordered"}}, False),
        ({"update": "baskets", "updates": [{"q": PAVEL}, {"q": PAVEL}]}, True),
        ({"update": "baskets", "updates": [{"q": PAVEL}, {"q": {}}]}, False),
        ({"delete": "baskets", "deletes": [{"q": {}}]}, False),
        ({"insert": "baskets", "documents": [PAVEL, {"_id": ObjectId()}]}, False),
        ({"aggregate": "baskets", "pipeline": [{"$match": PAVEL}, {"$count": "n"}]}, True),
        ({"aggregate": "baskets", "pipeline": [{"$group": {"_id": "$user"}}]}, False),
        ({"count": "baskets"}, False),
        ({"distinct": "baskets"}, False),
    ],
)
def test_the_watch_knows_what_names_a_user(command: dict[str, Any], names: bool) -> None:
    """An equality in the filter, of every statement in a batch; a read may name several users."""
    orders = process.current().settings.databases["orders"]
    assert names_its_user(orders, next(iter(command)), command) is names


async def test_the_watch_refuses_what_does_not(shop: None) -> None:
    """A statement of a function without its user fails the test that called it; a free read does not."""
    with pytest.raises(AssertionError, match=r"find \S*orders\.baskets"), watching("get_order"):
        await collection("orders", "baskets").find_one({"_id": ObjectId()})
    for function in FREE_READS:
        with pytest.raises(AssertionError), watching(function):
            await collection("billing", "users").find_one({})
    with watching("resend_orders"):
        await collection("orders", "baskets").find_one({"status": "ordered"})
    with pytest.raises(AssertionError), watching("resend_orders"):
        await collection("orders", "baskets").update_one({"status": "ordered"}, {"$set": {"reason": ""}})
