"""GET /GetBasket gives the user's one unpaid basket."""

import asyncio

from tests.functions.conftest import Client


async def test_the_first_basket_is_made_and_stays(client: Client) -> None:
    """Its id is the message, and 1 is the attempt to send with the order."""
    first = (await client.get("/GetBasket", {"user": "Pavel"})).json
    assert first["message"] == first["basket"]
    assert (first["attempt"], first["order_status"]) == (1, "open")
    assert (await client.get("/GetBasket", {"user": "Pavel"})).json == first


async def test_concurrent_requests_get_one_basket(client: Client) -> None:
    """Fifty clients of one user, and one of another."""
    baskets = await asyncio.gather(*(client.basket() for _ in range(50)), client.basket("Olga"))
    assert (len(set(baskets[:50])), baskets[50] in baskets[:50]) == (1, False)


async def test_an_ordered_basket_is_given_with_the_attempt_on_its_way(client: Client) -> None:
    """Sending that attempt repeats the order."""
    await client.user(balance=100)
    basket = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    given = (await client.get("/GetBasket", {"user": "Pavel"})).json
    assert (given["basket"], given["attempt"], given["order_status"]) == (basket, 1, "ordered")


async def test_after_a_decline_the_same_basket_is_given_with_the_next_attempt(client: Client) -> None:
    """It is still the one unpaid basket."""
    await client.user()
    basket = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    await client.deliver()
    given = (await client.get("/GetBasket", {"user": "Pavel"})).json
    assert (given["basket"], given["attempt"], given["order_status"]) == (basket, 2, "open")


async def test_after_a_payment_another_basket_is_given(client: Client) -> None:
    """Its number is the next one."""
    await client.user(balance=100)
    paid = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": paid})
    await client.deliver()
    given = await client.basket()
    assert given != paid
    assert (await client.get("/GetOrder", {"user": "Pavel", "basket": given})).json["number"] == 2
