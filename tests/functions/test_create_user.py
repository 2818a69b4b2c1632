"""POST /CreateUser makes an account once."""

import pytest

from shop.store.client import collection
from tests.functions.conftest import Client


async def test_a_user_is_made_with_balance_0(client: Client) -> None:
    """The answer names it."""
    answer = await client.post("/CreateUser", {"user": "Pavel"})
    assert answer.json == {"status": True, "message": "user created", "user": "Pavel"}
    assert "idempotent-replayed" not in answer.headers
    assert await client.balance() == 0


async def test_a_user_that_exists_is_answered_200_and_keeps_its_balance(client: Client) -> None:
    """`Idempotent-Replayed` says that it was there."""
    await client.user(balance=100)
    answer = await client.post("/CreateUser", {"user": "Pavel"})
    assert (answer.status, answer.headers["idempotent-replayed"]) == (200, "true")
    assert await client.balance() == 100


@pytest.mark.parametrize("user", ["P", "x" * 128, "😀" * 128, "$balance", "a.b$c", "Павел", "\u202eright to left"])
async def test_a_user_is_any_text_of_1_to_128_characters(client: Client, user: str) -> None:
    """Characters are counted, not bytes, and none of them means anything to MongoDB."""
    await client.user(user, 5)
    assert (await client.get("/GetUser", {"user": user})).json["message"] == user
    assert await client.balance(user) == 5


async def test_users_that_look_alike_are_not_the_same(client: Client) -> None:
    """Case, blanks and the form of an accent count: nothing is normalised."""
    for user in ("é", "e\u0301", "E", "e", "e "):
        assert "idempotent-replayed" not in (await client.post("/CreateUser", {"user": user})).headers
    assert await collection("billing", "users").count_documents({}) == 5


async def test_a_user_that_was_declined_before_it_existed_is_made(client: Client) -> None:
    """What is remembered of the decline is no account until now, and stays."""
    basket = await client.basket("Olga")
    await client.post("/Order", {"user": "Olga", "sum": 10, "basket": basket})
    await client.deliver()
    assert (await client.get("/GetUser", {"user": "Olga"})).status == 404
    assert (await client.post("/DepositCash", {"user": "Olga", "sum": 10})).status == 404
    answer = await client.post("/CreateUser", {"user": "Olga"})
    assert "idempotent-replayed" not in answer.headers
    assert await client.balance("Olga") == 0
    order = (await client.get("/GetOrder", {"user": "Olga", "basket": basket})).json
    assert (order["message"], order["reason"]) == ("open", "unknown user")
