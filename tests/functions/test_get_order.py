"""GET /GetOrder shows what became of a basket."""

from tests.functions.conftest import Client


async def test_a_basket_that_was_never_ordered_is_open_at_attempt_0(client: Client) -> None:
    """What is not known yet is null."""
    basket = await client.basket()
    assert (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).json == {
        "status": True,
        "message": "open",
        "basket": basket,
        "number": 1,
        "attempt": 0,
        "sum": None,
        "reason": None,
        "ordered_at": None,
        "decided_at": None,
        "outcome": "none",
        "decline_code": None,
    }


async def test_an_order_is_followed_from_ordered_to_paid(client: Client) -> None:
    """The decision comes with its time, and not before."""
    await client.user(balance=100)
    basket = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    ordered = (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).json
    assert (ordered["message"], ordered["attempt"], ordered["sum"], ordered["decided_at"]) == ("ordered", 1, 10, None)
    await client.deliver()
    paid = (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).json
    assert (paid["message"], paid["reason"], paid["ordered_at"]) == ("paid", None, ordered["ordered_at"])
    assert paid["decided_at"] is not None


async def test_a_decline_is_told_with_its_reason_until_the_next_order(client: Client) -> None:
    """The basket is open again; its attempt is the one that was declined."""
    await client.user()
    basket = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    await client.deliver()
    declined = (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).json
    assert (declined["message"], declined["attempt"], declined["reason"]) == ("open", 1, "insufficient funds")
    await client.post("/Order", {"user": "Pavel", "sum": 20, "basket": basket})
    again = (await client.get("/GetOrder", {"user": "Pavel", "basket": basket})).json
    assert (again["attempt"], again["sum"], again["reason"], again["decided_at"]) == (2, 20, None, None)


async def test_each_attempt_s_outcome_stays_known(client: Client) -> None:
    """One for lack of an account, one for lack of money, one paid, one that was never ordered."""
    basket = await client.basket()
    for attempt, sum_ in ((1, 10), (2, 20), (3, 30)):
        await client.post("/Order", {"user": "Pavel", "sum": sum_, "basket": basket, "attempt": attempt})
        if attempt == 3:
            assert await told(client, basket, 3) == (3, 30, "pending", None, None)
        await client.deliver()
        await client.post("/CreateUser", {"user": "Pavel"})
        if attempt == 2:
            assert await told(client, basket, 2) == (2, 20, "declined", "insufficient_funds", "insufficient funds")
            await client.post("/DepositCash", {"user": "Pavel", "sum": 100})
    assert await told(client, basket, 1) == (1, 10, "declined", "no_account", "unknown user")
    assert await told(client, basket, 2) == (2, 20, "declined", "insufficient_funds", "insufficient funds")
    assert await told(client, basket, 3) == await told(client, basket) == (3, 30, "paid", None, None)
    assert await told(client, basket, 4) == (4, None, "none", None, None)
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket, "attempt": 1})
    assert (answer.json["outcome"], answer.json["decline_code"]) == ("declined", "no_account")


async def told(client: Client, basket: str, attempt: int | None = None) -> tuple[object, ...]:
    """Return what GET /GetOrder says of an attempt of Pavel's basket."""
    answer = await client.get("/GetOrder", {"user": "Pavel", "basket": basket, "attempt": attempt})
    assert answer.json["message"] in ("open", "ordered", "paid")
    return tuple(answer.json[name] for name in ("attempt", "sum", "outcome", "decline_code", "reason"))


async def test_a_basket_that_is_absent_or_of_another_user_is_404(client: Client) -> None:
    """Nobody learns which of the two."""
    olgas = await client.basket("Olga")
    foreign = await client.get("/GetOrder", {"user": "Pavel", "basket": olgas})
    absent = await client.get("/GetOrder", {"user": "Pavel", "basket": "0" * 24})
    assert foreign.json == absent.json
    assert foreign.status == 404
