"""Functions that are deployed before setup was run do nothing, say so, and go on by themselves once it has."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from shop.setup import setup
from shop.state import SERVICES
from shop.store.client import client, collection
from tests.support import openapi
from tests.support.asgi import Answer, call
from tests.support.functions import FUNCTIONS, PATHS, consumers, triggered
from tests.support.sink import Sink

pytestmark = pytest.mark.usefixtures("empty")

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{function: openapi.example(function) for function in triggered("GET", "POST")},
    **{function: ("POST", {}) for function in triggered("tick")},
}


async def ask(function: str) -> Answer:
    """Send a function a request that would be done, were everything there."""
    method, fields = REQUESTS[function]
    return await call(function, method, body=json.dumps(fields).encode())


async def nothing_is_there() -> bool:
    """Tell whether no database has anything, a collection that a read would not have made neither."""
    return not set(SERVICES) & set(await client().list_database_names())


@pytest.fixture
async def events(configure: Callable[..., None]) -> list[tuple[str, list[tuple[str, str]], bytes]]:
    """Return the events of an order that was paid elsewhere, each with its consumer; the databases are empty again."""
    await setup()
    async with Sink() as sink:
        configure(sink=sink.url)
        for function, fields in (("create_user", {}), ("deposit_cash", {"sum": 100}), ("get_basket", {})):
            answer = await call(function, REQUESTS[function][0], body=json.dumps({"user": "Pavel", **fields}).encode())
        basket = answer.json["basket"]
        order = {"user": "Pavel", "sum": 10, "basket": basket}
        assert (await call("create_order", body=json.dumps(order).encode())).status == 200
        requested = sink.received[0]
        assert (await call("billing_handler", headers=requested.headers, body=requested.body)).status == 200
        emitted = list(sink.received)
    for service in SERVICES:
        await client().drop_database(service)
    return [
        (consumer, event.headers, event.body)
        for event in emitted
        for consumer in consumers(event.header("ce-type") or "")
    ]


async def test_every_function_answers_503_and_does_nothing(
    events: list[tuple[str, list[tuple[str, str]], bytes]], configure: Callable[..., None]
) -> None:
    """The answer says what to run; a health check says the same, so that Knative sends no request at all."""
    configure(sink="http://127.0.0.1:9/")  # a process that starts after the databases are gone
    answers = {function: await ask(function) for function in REQUESTS}
    answers |= {consumer: await call(consumer, headers=headers, body=body) for consumer, headers, body in events}
    assert answers.keys() == FUNCTIONS.keys()
    for function, answer in answers.items():
        assert answer.status == 503, function
        assert "retry-after" not in answer.headers  # a repeat does not help before somebody has run it
        assert f"{FUNCTIONS[function].label.service} is not set up" in answer.text
        assert "python -m shop.setup" in answer.text
        if function in PATHS:
            openapi.check_answer(PATHS[function], answer.status, answer.headers, answer.body)
        healthy = await call(function, "GET", path="/healthz")
        assert (healthy.status, "python -m shop.setup" in healthy.text) == (503, True)
    assert await nothing_is_there()
    await setup()
    for function in REQUESTS:
        assert (await ask(function)).status != 503
        assert (await call(function, "GET", path="/healthz")).status == 200


async def test_customers_who_come_before_during_and_after_setup_have_one_basket_each() -> None:
    """Thirty users with ten calls at once, as it was when two of them got eleven and two unpaid baskets."""
    users = [f"user {number}" for number in range(30)]

    async def get_basket(user: str) -> Answer:
        return await call("get_basket", "GET", body=json.dumps({"user": user}).encode())

    async def keep_asking(user: str) -> set[str]:
        got = set()
        for _ in range(100):
            answers = await asyncio.gather(*(get_basket(user) for _ in range(3)))
            got |= {answer.json["basket"] for answer in answers if answer.status == 200}
            if all(answer.status == 200 for answer in answers):
                return got
            await asyncio.sleep(0.05)
        raise AssertionError(f"{user} was never answered")

    before = await asyncio.gather(*(get_basket(user) for user in users for _ in range(10)))
    assert {answer.status for answer in before} == {503}
    assert await nothing_is_there()
    asking = [asyncio.create_task(keep_asking(user)) for user in users]
    await setup()
    got = await asyncio.gather(*asking)
    assert [len(baskets) for baskets in got] == [1] * len(users)
    assert await collection("orders", "baskets").count_documents({}) == len(users)
