"""GET /GetUser shows an account."""

from tests.functions.conftest import Client


async def test_a_new_user_has_nothing(client: Client) -> None:
    """Balance 0, no baskets, no deposits."""
    await client.user()
    assert (await client.get("/GetUser", {"user": "Pavel"})).json == {
        "status": True,
        "message": "Pavel",
        "balance": 0,
        "paid_baskets": [],
        "deposits": [],
    }


async def test_an_unknown_user_is_404(client: Client) -> None:
    """And is not made by being asked for."""
    for _ in range(2):
        assert (await client.get("/GetUser", {"user": "Pavel"})).status == 404


async def test_paid_baskets_and_deposits_are_shown_latest_first(client: Client) -> None:
    """The balance is the sum of the deposits without the sum of the baskets."""
    await client.user(balance=30)
    await client.post("/DepositCash", {"user": "Pavel", "sum": 70}, Idempotency_Key="second")
    for sum_ in (10, 20):
        await client.post("/Order", {"user": "Pavel", "sum": sum_, "basket": await client.basket()})
        await client.deliver()
    user = (await client.get("/GetUser", {"user": "Pavel"})).json
    assert user["balance"] == 70
    assert [(paid["number"], paid["attempt"], paid["sum"]) for paid in user["paid_baskets"]] == [(2, 1, 20), (1, 1, 10)]
    assert [deposit["sum"] for deposit in user["deposits"]] == [70, 30]
    assert user["deposits"][0]["key"] == "second"
    assert len(user["deposits"][1]["key"]) == 24


async def test_at_most_64_deposits_are_shown(client: Client) -> None:
    """The oldest are in the archive; the balance counts them all."""
    await client.user()
    for sum_ in range(1, 71):
        await client.post("/DepositCash", {"user": "Pavel", "sum": sum_})
    user = (await client.get("/GetUser", {"user": "Pavel"})).json
    sums = [deposit["sum"] for deposit in user["deposits"]]
    assert len(sums) <= 64
    assert sums == list(range(70, 70 - len(sums), -1))
    assert user["balance"] == sum(range(71))
