"""When MongoDB's answer is lost or not durable, nothing is taken for done or failed; the client is told what to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from local.ports import Ports
from local.servers.mongodb import Mongod
from shop.setup import setup
from shop.store.client import client as mongo_client
from tests.functions.conftest import Client
from tests.functions.test_every_function import VALID
from tests.support import openapi
from tests.support.asgi import Answer
from tests.support.sink import Sink

DEPOSIT = {"user": "Pavel", "sum": 10}

LOST: dict[str, object] = {"closeConnection": True}
"""The connection breaks before the command is carried out."""

NOT_DURABLE: dict[str, object] = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
"""The command is carried out on the primary; whether a majority has it is unknown."""


@pytest.fixture(scope="module")
async def failing_mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongod]:
    """Run a mongod whose commands can be made to fail."""
    folder = tmp_path_factory.mktemp("failing")
    server = Mongod(folder / "data", Ports().free(), folder / "mongod.log", fail_points=True)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(failing_mongod: Mongod, sink: Sink, configure: Callable[..., None]) -> AsyncIterator[Client]:
    """Call the functions on that mongod, with a user, a basket, and nothing else in it."""
    configure(mongodb_uri=failing_mongod.uri)
    for service in ("orders", "billing", "notify"):
        await mongo_client().drop_database(service)
    await setup()
    calling = Client(sink, configure)
    await calling.user()
    yield calling
    await fail(None)


async def fail(how: dict[str, object] | None, times: int | None = None) -> None:
    """Make the commands of functions fail in this way, until told otherwise or so many times."""
    mode: Any = "off" if how is None else "alwaysOn" if times is None else {"times": times}
    data = {"failCommands": ["find", "findAndModify"], "appName": "shop", **(how or {})}
    await mongo_client().admin.command("configureFailPoint", "failCommand", mode=mode, data=data)


async def test_lost_connections_are_503(client: Client) -> None:
    """With `Retry-After`, for every repeat is safe; only a deposit without a key says otherwise.

    The driver tries again until the deadline, so all paths are asked at once.
    """

    async def send(path: str) -> Answer:
        method, fields = VALID[path]
        return await client.send(method, path, json.dumps(fields).encode())

    await fail(LOST)
    answers = dict(zip(VALID, await asyncio.gather(*map(send, VALID)), strict=True))
    assert {answer.status for answer in answers.values()} == {503}
    assert [path for path, answer in answers.items() if "retry-after" not in answer.headers] == ["/DepositCash"]
    assert client.sink.received == []
    await fail(None)
    assert {(await send(path)).status for path in VALID} == {200, 404}


async def test_a_connection_lost_once_is_not_noticed(client: Client) -> None:
    """The driver repeats the command, and MongoDB knows it again: the deposit counts once, key or no key."""
    await fail(LOST, times=1)
    answer = await client.post("/DepositCash", DEPOSIT)
    assert (answer.status, answer.json["balance"]) == (200, 10)


async def test_a_deposit_without_a_key_may_have_been_made_and_says_so(client: Client) -> None:
    """No `Retry-After`; the balance tells, and a key would have made the repeat safe."""
    await fail(NOT_DURABLE, times=1)
    answer = await client.post("/DepositCash", DEPOSIT)
    assert (answer.status, "retry-after" in answer.headers) == (503, False)
    assert all(word in answer.message for word in ("unknown", "GET /GetUser", "Idempotency-Key"))
    await client.user()  # once this write is durable, so is the deposit before it
    assert await client.balance() == 10


async def test_a_deposit_with_a_key_is_made_once_whatever_became_of_the_first(client: Client) -> None:
    """503 with `Retry-After`, and the repeat finds out."""
    await fail(NOT_DURABLE, times=1)
    first = await client.post("/DepositCash", DEPOSIT, Idempotency_Key="a")
    assert (first.status, first.headers["retry-after"]) == (503, "1")
    second = await client.post("/DepositCash", DEPOSIT, Idempotency_Key="a")
    assert (second.status, "idempotent-replayed" in second.headers) == (200, True)
    assert await client.balance() == 10


async def test_an_order_whose_write_may_be_lost_is_not_emitted(client: Client) -> None:
    """What billing hears of must not be taken back by a failover; the repeat emits it."""
    await client.post("/DepositCash", DEPOSIT)
    fields = {"user": "Pavel", "sum": 10, "basket": await client.basket(), "attempt": 1}
    await fail(NOT_DURABLE, times=1)
    assert (await client.post("/Order", fields)).status == 503
    assert client.sink.received == []
    again = await client.post("/Order", fields)
    assert (again.status, again.message, again.headers["idempotent-replayed"]) == (200, "order accepted", "true")
    await client.deliver()
    assert await client.balance() == 0


async def test_a_repeat_of_what_is_not_durable_is_not_taken_for_done(client: Client) -> None:
    """A find-and-update that changes nothing also waits until what it saw is durable."""
    fields = {"user": "Pavel", "sum": 10, "basket": await client.basket(), "attempt": 1}
    for _ in range(2):
        await fail(NOT_DURABLE, times=1)
        assert (await client.post("/Order", fields)).status == 503
    assert client.sink.received == []


def test_every_path_has_its_request() -> None:
    """So that a new function is held to all of this."""
    assert set(VALID) == set(openapi.DOCUMENT["paths"])
