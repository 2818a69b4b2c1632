"""POST /DepositCash adds to a balance, once per Idempotency-Key."""

import re

import pytest
from bson import Int64

from shop.messages import MAX_BALANCE
from shop.store.client import collection
from tests.functions.conftest import Client
from tests.support.asgi import call

TEN = {"user": "Pavel", "sum": 10}


async def test_deposits_without_a_key_all_count(client: Client) -> None:
    """Two equal requests are two deposits, as they were with the seed."""
    await client.user()
    first, second = await client.post("/DepositCash", TEN), await client.post("/DepositCash", TEN)
    assert (first.json["balance"], second.json["balance"]) == (10, 20)
    assert "idempotent-replayed" not in second.headers


async def test_a_deposit_with_a_key_counts_once(client: Client) -> None:
    """The repetition is answered with the balance there is now."""
    await client.user()
    await client.post("/DepositCash", TEN, Idempotency_Key="a")
    await client.post("/DepositCash", TEN, Idempotency_Key="b")
    again = await client.post("/DepositCash", TEN, Idempotency_Key="a")
    assert (again.status, again.json["balance"], again.headers["idempotent-replayed"]) == (200, 20, "true")
    assert await client.balance() == 20


async def test_a_key_with_another_sum_is_422(client: Client) -> None:
    """The message names the sum it had."""
    await client.user()
    await client.post("/DepositCash", TEN, Idempotency_Key="a")
    answer = await client.post("/DepositCash", {**TEN, "sum": 11}, Idempotency_Key="a")
    assert (answer.status, "10" in answer.message) == (422, True)
    assert await client.balance() == 10


async def test_17_no_refusal_advises_what_would_deposit_again(client: Client) -> None:
    """A loop obeys: a new key, or a smaller sum, would be a second deposit. It is said that nothing was added."""
    await client.user("Pavel", 10)
    await client.post("/DepositCash", TEN, Idempotency_Key="a")
    other_sum = await client.post("/DepositCash", {**TEN, "sum": 11}, Idempotency_Key="a")
    account = collection("billing", "users")
    await account.update_one({"_id": "Pavel"}, {"$set": {"balance": Int64(MAX_BALANCE - 5)}})
    too_much = await client.post("/DepositCash", TEN, Idempotency_Key="b")
    for answer in (other_sum, too_much):
        assert (answer.status, "nothing was added" in answer.message) == (422, True)
        assert not re.search("new key|another key|send a|deposit less|try", answer.message)


async def test_a_key_is_of_one_user(client: Client) -> None:
    """Another user's deposit under the same key is another deposit."""
    for user in ("Pavel", "Olga"):
        await client.user(user)
        await client.post("/DepositCash", {"user": user, "sum": 10}, Idempotency_Key="a")
    assert (await client.balance("Pavel"), await client.balance("Olga")) == (10, 10)


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a, b", "a\tb", "\u00e9", "\x7f"])
async def test_a_key_that_no_header_carries_unchanged_is_422(client: Client, key: str) -> None:
    """Not ignored, for the client relies on it."""
    await client.user()
    answer = await client.post("/DepositCash", TEN, Idempotency_Key=key)
    assert (answer.status, answer.message.partition(" ")[0]) == (422, "Idempotency-Key")
    assert await client.balance() == 0


@pytest.mark.parametrize("key", ["x" * 255, "$sum", "~", "{}", "7d4ff6e1-6b34-4a1c-9a53-7f2c0c3f5a10", '"quoted"'])
async def test_a_key_is_1_to_255_visible_characters(client: Client, key: str) -> None:
    """Whatever they mean elsewhere."""
    await client.user()
    for _ in range(2):
        assert (await client.post("/DepositCash", TEN, Idempotency_Key=key)).status == 200
    assert await client.balance() == 10
    assert (await client.get("/GetUser", {"user": "Pavel"})).json["deposits"][0]["key"] == key


async def test_two_keys_in_one_request_are_422(client: Client) -> None:
    """A repetition through another proxy might keep only one of them."""
    await client.user()
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await call("deposit_cash", headers=headers, body=b'{"user": "Pavel", "sum": 10}')).status == 422
    assert await client.balance() == 0


async def test_a_deposit_for_nobody_is_404(client: Client) -> None:
    """It makes no account."""
    assert (await client.post("/DepositCash", TEN)).status == 404
    assert (await client.post("/DepositCash", TEN, Idempotency_Key="a")).status == 404
    assert await collection("billing", "users").count_documents({}) == 0


async def test_the_largest_sum_is_taken_and_the_balance_stays_exact(client: Client) -> None:
    """10^12 is a sum; a deposit that would take the balance past 2^53 - 1 is 422."""
    await client.user(balance=10**12)
    assert await client.balance() == 10**12
    await collection("billing", "users").update_one(
        {"_id": "Pavel"}, [{"$set": {"balance": {"$subtract": [{"$toLong": 2**53 - 1}, {"$toLong": 10}]}}}]
    )
    assert (await client.post("/DepositCash", {**TEN, "sum": 11})).status == 422
    assert (await client.post("/DepositCash", TEN)).json["balance"] == 2**53 - 1
    assert (await client.post("/DepositCash", {**TEN, "sum": 1}, Idempotency_Key="a")).status == 422
    assert await client.balance() == 2**53 - 1
