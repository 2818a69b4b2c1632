"""A deposit without a key that ended midway is unknown, whatever ended it: an obedient client never pays in twice."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from local.ports import Ports
from local.servers.mongodb import Mongod
from shop.edge import handling
from shop.process import process
from shop.process.process import Process
from shop.store.client import open_client
from shop.store.readiness import Known
from tests.functions.conftest import Client
from tests.support.asgi import Answer
from tests.support.processes import shop_serve

DEPOSIT = {"user": "Pavel", "sum": 10}


def is_unknown(answer: Answer) -> bool:
    """Tell whether an answer says that it is unknown, and does not ask for a repeat."""
    told = all(word in answer.message for word in ("unknown", "GET /GetUser", "Idempotency-Key"))
    return answer.status == 503 and told and "retry-after" not in answer.headers


class Lost:
    """MongoDB, where one method does what it does, and the answer does not come back: never, or as an error."""

    def __init__(self, real: Any, method: str, then: BaseException | None) -> None:
        self._real, self._method, self._then = real, method, then

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name != self._method:
            return real

        async def lost(*args: Any, **options: Any) -> Any:
            await real(*args, **options)
            if self._then is not None:
                raise self._then
            await asyncio.Event().wait()

        return lost

    def __getitem__(self, name: str) -> "Lost":
        return Lost(self._real[name], self._method, self._then)

    def get_database(self, *args: Any, **options: Any) -> "Lost":
        """Return a database of which the same holds."""
        return Lost(self._real.get_database(*args, **options), self._method, self._then)


def losing(method: str, then: BaseException | None) -> Process:
    """Return a process whose client loses answers; its deadlines are a tenth of what they are."""
    now = process.current()
    client = Lost(now.once(open_client), method, then)
    return Process(now.settings, {open_client: client, Known: now.once(Known)}, patience=0.1)


@pytest.mark.parametrize("error", [None, ZeroDivisionError("a bug"), asyncio.CancelledError()], ids=repr)
async def test_14_whatever_ends_it_midway_is_unknown(client: Client, error: BaseException | None) -> None:
    """The function's own deadline, a bug, a cancellation. 500 said: repeat the request later."""
    await client.user()
    with process.running(losing("find_one_and_update", error)):
        answer = await client.post("/DepositCash", DEPOSIT)
    assert is_unknown(answer), answer
    assert await client.balance() == 10


async def test_14_with_a_key_a_repeat_is_safe_and_asked_for(client: Client) -> None:
    """The same end, and the repeat finds the key."""
    await client.user()
    with process.running(losing("find_one_and_update", TimeoutError())):
        answer = await client.post("/DepositCash", DEPOSIT, Idempotency_Key="a")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), asyncio.CancelledError()], ids=repr)
async def test_14_what_fails_after_it_was_made_does_not_take_its_answer(client: Client, error: BaseException) -> None:
    """Archiving comes after the deposit: its failure answered 500, or 503 with Retry-After, for a deposit made."""
    await client.user()
    with process.running(losing("bulk_write", error)):
        for _ in range(65):
            assert (await client.post("/DepositCash", DEPOSIT)).status == 200
    assert await client.balance() == 650


@pytest.fixture
async def held_mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongod]:
    """Run a mongod whose commands can be held; to be asked for first, so that it ends after those who use it."""
    folder = tmp_path_factory.mktemp("held")
    server = Mongod(folder / "data", Ports().free(), folder / "mongod.log", fail_points=True)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.timeout(120)
async def test_14_a_process_that_freezes_in_the_middle_does_not_ask_for_a_repeat(
    held_mongod: Mongod, client: Client, configure: Callable[..., None]
) -> None:
    """MongoDB holds the update for 0.7 s, the process is stopped at 0.3 s for longer than its deadline."""
    configure(mongodb_uri=held_mongod.uri)
    from shop.setup import setup

    await setup()
    await client.user()
    async with shop_serve("deposit_cash", MONGODB_URI=held_mongod.uri, FUNCTION_TARGET="deposit_cash") as served:
        body = json.dumps(DEPOSIT).encode()
        assert (await served.send("POST", "/DepositCash", body)).status == 200
        held = {
            "failCommands": ["findAndModify"],
            "appName": "deposit_cash",
            "blockConnection": True,
            "blockTimeMS": 700,
        }
        admin = process.current().once(open_client).admin
        await admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=held)
        asking = asyncio.create_task(served.send("POST", "/DepositCash", body))
        await asyncio.sleep(0.3)
        served.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(handling.DEADLINE_S + 1)
        finally:
            served.process.send_signal(signal.SIGCONT)
        answer = await asking
    balance = await client.balance()
    assert balance == 20
    assert answer.status == 200 or is_unknown(answer), answer
