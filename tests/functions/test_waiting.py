"""GET /GetOrder and POST /Order wait for the outcome, if the client asks for it; else nothing is different."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlencode

import pytest

from shop import waiting
from shop.process import process
from shop.waiting import LONGEST_TICK_S
from tests.functions.conftest import Client
from tests.support.asgi import Answer, call
from tests.support.commands import counted


@pytest.fixture(autouse=True)
async def nobody_waits(client: Client, configure: Callable[..., None]) -> AsyncIterator[None]:
    """Begin in a process in which nobody waits yet."""
    configure()
    yield
    await waiting.everybody().close()


@pytest.fixture
async def basket(client: Client) -> str:
    """Have a customer with some money and a basket."""
    await client.user(balance=100)
    return await client.basket()


async def post(client: Client, basket: str, *, query: str = "", sum_: int = 10, **headers: str) -> Answer:
    """Order Pavel's basket."""
    order = json.dumps({"user": "Pavel", "sum": sum_, "basket": basket, "attempt": 1})
    return await client.send("POST", "/Order", order.encode(), query=query, **headers)


async def get(client: Client, basket: str, *, query: str = "", **headers: str) -> Answer:
    """Ask for the outcome of Pavel's basket."""
    fields = urlencode({"user": "Pavel", "basket": basket})
    return await client.send("GET", "/GetOrder", query=f"{fields}&{query}", **headers)


async def after(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    """Do something in a while."""
    await asyncio.sleep(seconds)
    await act()


Ask = Callable[..., Awaitable[Answer]]


@pytest.mark.parametrize("how", [{"query": "wait=20"}, {"prefer": "wait=20"}])
@pytest.mark.parametrize(("sum_", "outcome"), [(10, "paid"), (1000, "declined")])
async def test_an_order_is_answered_as_soon_as_it_is_decided(
    client: Client, basket: str, how: dict[str, str], sum_: int, outcome: str
) -> None:
    """As its repetition is; but this request ordered it, so nothing is replayed."""
    began = time.monotonic()
    answer, _ = await asyncio.gather(post(client, basket, sum_=sum_, **how), after(0.3, client.deliver))
    assert 0.3 < time.monotonic() - began < 15
    again = await post(client, basket, sum_=sum_)
    assert answer.json == again.json
    assert answer.json["outcome"] == outcome
    assert ("idempotent-replayed" in answer.headers, "idempotent-replayed" in again.headers) == (False, True)


@pytest.mark.parametrize("how", [{"query": "wait=20"}, {"prefer": "wait=20"}])
@pytest.mark.parametrize(("sum_", "outcome"), [(10, "paid"), (1000, "declined")])
async def test_an_outcome_is_shown_as_soon_as_there_is_one(
    client: Client, basket: str, how: dict[str, str], sum_: int, outcome: str
) -> None:
    """As it is shown from then on."""
    await post(client, basket, sum_=sum_)
    answer, _ = await asyncio.gather(get(client, basket, **how), after(0.3, client.deliver))
    assert answer.json == (await get(client, basket)).json
    assert answer.json["outcome"] == outcome


@pytest.mark.parametrize("ask", [post, get])
async def test_when_the_time_is_up_the_answer_is_that_of_who_did_not_wait(
    client: Client, basket: str, ask: Ask
) -> None:
    """Pending, and 200: an order that was accepted stays accepted."""
    await post(client, basket)
    began = time.monotonic()
    answer = await ask(client, basket, query="wait=1")
    assert 0.9 < time.monotonic() - began < 10
    assert (answer.status, answer.json["outcome"]) == (200, "pending")
    assert answer.json == (await ask(client, basket)).json


@pytest.mark.parametrize("ask", [post, get])
@pytest.mark.parametrize(
    ("how", "applied"),
    [
        ({"prefer": "wait=1"}, "wait=1"),
        ({"prefer": "respond-async, wait=0"}, "wait=0"),
        ({"prefer": "wait=99"}, "wait=20"),
        ({"prefer": "wait=x"}, None),
        ({"prefer": "wait=5", "query": "wait=1"}, None),
        ({"query": "wait=1"}, None),
        ({}, None),
    ],
)
async def test_a_preference_that_is_applied_is_said_to_be(
    client: Client, basket: str, ask: Ask, how: dict[str, str], applied: str | None
) -> None:
    """With the seconds that are granted; one that is ignored is not."""
    await post(client, basket)
    await client.deliver()
    answer = await ask(client, basket, **how)
    assert (answer.status, answer.headers.get("preference-applied")) == (200, applied)


@pytest.mark.parametrize("query", ["wait=x", "wait=", "wait=-1", "wait=1.5", "wait=5&wait=5"])
async def test_a_wrong_wait_in_the_query_is_refused_before_anything_is_done(
    client: Client, basket: str, query: str
) -> None:
    """400, and nothing is ordered."""
    for ask in (post, get):
        assert (await ask(client, basket, query=query)).status == 400
    assert (await get(client, basket)).json["attempt"] == 0


@pytest.mark.parametrize("name", ["Wait", "wait ", "waits", "wai", "attempt", "idempotency-key"])
async def test_a_post_s_query_may_say_wait_and_nothing_that_looks_like_a_field(
    client: Client, basket: str, name: str
) -> None:
    """What looks like it is refused, and nothing is ordered."""
    answer = await post(client, basket, query=urlencode({"wait": 1, name: 1}))
    assert (answer.status, repr(name) in answer.message) == (400, True)
    assert (await get(client, basket)).json["attempt"] == 0


async def test_without_a_wait_nothing_is_waited_for(client: Client, basket: str) -> None:
    """One command an answer, as ever; nobody looks afterwards either, nor for who waits no second."""
    async with counted() as commands:
        await post(client, basket)
        await get(client, basket)
        await get(client, basket, query="wait=0")
        await asyncio.sleep(3 * LONGEST_TICK_S)
        await process.current().close()
    assert commands.names == ["findAndModify", "find", "find"]


async def test_what_is_not_ordered_has_nothing_to_wait_for(client: Client, basket: str) -> None:
    """Its client has to order first: it is told at once."""
    began = time.monotonic()
    assert (await get(client, basket, query="wait=20")).json["outcome"] == "none"
    assert (await get(client, basket, query="wait=20&attempt=1")).json["outcome"] == "none"
    assert time.monotonic() - began < 10


async def test_a_wait_for_one_attempt_is_not_over_another(client: Client, basket: str) -> None:
    """The answer is about the attempt that was asked for, whatever became of the basket since."""
    await post(client, basket, sum_=1000)
    waits = asyncio.create_task(get(client, basket, query="wait=20&attempt=1"))
    await asyncio.sleep(0.1)
    await client.deliver()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket, "attempt": 2})
    answer = await waits
    assert (answer.json["attempt"], answer.json["outcome"]) == (1, "declined")
    assert (await get(client, basket, query="wait=1")).json["outcome"] == "pending"


async def test_a_refusal_is_not_waited_for(client: Client, basket: str) -> None:
    """It comes at once, and no preference was applied to it."""
    began = time.monotonic()
    refused = await get(client, "0" * 24, prefer="wait=20")
    assert (refused.status, "preference-applied" in refused.headers) == (404, False)
    await post(client, basket)
    assert (await post(client, basket, sum_=11, prefer="wait=20")).status == 422
    assert time.monotonic() - began < 10


async def test_a_client_that_goes_away_is_forgotten(client: Client, basket: str) -> None:
    """Nobody looks for it any longer."""
    await post(client, basket)
    gone = asyncio.Event()
    query = urlencode({"user": "Pavel", "basket": basket, "wait": 20})
    async with counted() as commands:
        began = time.monotonic()
        waits = asyncio.create_task(call("get_order", "GET", query=query, gone=gone))
        async with asyncio.timeout(10):
            while len(commands.names) < 3:  # noqa: ASYNC110 - it looks
                await asyncio.sleep(0.01)
        gone.set()
        await waits
        assert time.monotonic() - began < 10
        await asyncio.sleep(2 * LONGEST_TICK_S)
        looks = len(commands.names)
        await asyncio.sleep(4 * LONGEST_TICK_S)
        assert len(commands.names) == looks


async def test_the_log_has_one_line_of_who_waited(
    client: Client, basket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the time that the wait took."""
    await post(client, basket)
    caplog.clear()
    with caplog.at_level("INFO"):
        await get(client, basket, query="wait=1")
    (line,) = [record for record in caplog.records if record.message == "handled"]
    assert line.__dict__["fields"]["duration_ms"] >= 900
