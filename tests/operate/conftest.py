"""`orders` as a person runs it, against a stack, and a customer of that stack."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local.manifests import Patch
from local.stack import Stack
from operate.payments import as_event
from shop.schema.events_pb2 import PaymentRequested
from tests.operate.command import Orders
from tests.support.stack_fixtures import eventually, free


class Bug:
    """A bug in notify_handler: `tests.operate.refusing` says which."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def deploy(self, kind: str = "for good") -> None:
        """Let it refuse every event from now on, for good, or `later`: for now."""
        self.file.write_text(kind)

    def fix(self) -> None:
        """Let it work again."""
        self.file.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def bug_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that notify_handler looks for."""
    return tmp_path_factory.mktemp("bug") / "bug"


@pytest.fixture
def bug(bug_file: Path) -> Iterator[Bug]:
    """Return a bug that is not deployed, and is fixed after the test."""
    bug = Bug(bug_file)
    yield bug
    bug.fix()


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory, bug_file: Path) -> AsyncIterator[Stack]:
    """Run a stack for all tests of the command line."""
    environment = {"FUNCTION_SOURCE": "tests/operate/refusing.py", "BUG": str(bug_file)}
    retry = Patch("KafkaSource", "notify-handler", "/spec/delivery/retry", 1)
    folder = tmp_path_factory.mktemp("stack")
    async with Stack(free(folder), env_overrides={"notify-handler": environment}, patches=[retry]) as running:
        yield running


@pytest.fixture(scope="session")
def orders(stack: Stack) -> Orders:
    """Run `orders` against the stack of this session."""
    return Orders({"LOCAL_DIR": str(stack.folder)})


class Customer:
    """Somebody who orders over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, url: str, user: str) -> None:
        self.user = user
        self.headers: dict[str, str] = {}
        self._http = http
        self._url = url

    async def call(self, method: str, path: str, **fields: object) -> Any:
        """Send a request that must be answered 200."""
        said = {"user": self.user, **fields}
        async with self._http.request(method, self._url + path, json=said, headers=self.headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def deposit(self, sum_: int) -> None:
        """Have an account with money."""
        await self.call("POST", "/CreateUser")
        await self.call("POST", "/DepositCash", sum=sum_)

    async def settle(self, sum_: int) -> str:
        """Order the basket and return its id once it is decided and settled."""
        basket = await self.call("GET", "/GetBasket")
        key = {"basket": basket["basket"], "attempt": basket["attempt"]}
        await self.call("POST", "/Order", sum=sum_, **key)

        async def settled() -> bool:
            return bool((await self.call("GET", "/GetOrder", basket=key["basket"]))["message"] != "ordered")

        await eventually(settled)
        return str(key["basket"])

    async def order(self, sum_: int) -> str:
        """Order the basket and return its id once it is decided, settled and notified."""
        before = len(await self.notifications())
        basket = await self.settle(sum_)

        async def notified() -> bool:
            return len(await self.notifications()) > before

        await eventually(notified)
        return basket

    async def notifications(self) -> list[Any]:
        """Return what the customer was notified of."""
        listed: list[Any] = (await self.call("GET", "/List"))["notifications"]
        return listed


async def poison(stack: Stack, user: str) -> None:
    """Put an event on `payments` that no consumer can ever take: its id is not that of its data."""
    about = PaymentRequested(user=user, basket="66f0c1d2e3a4b5c6d7e8f901", number=1, attempt=1, sum=5)
    about.ordered_at.FromSeconds(int(time.time()))
    event = as_event(about)
    headers = {f"ce-{name}": event.text(name) for name in event.attributes if name != "datacontenttype"}
    headers |= {"ce-id": "edited.1", "content-type": "application/protobuf"}
    url = stack.sink_url("payments")
    async with aiohttp.ClientSession() as http, http.post(url, data=event.data, headers=headers) as answer:
        assert answer.status == 202


@pytest.fixture
async def customer(stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[Customer]:
    """Return a customer of the stack whom no other test knows."""
    async with aiohttp.ClientSession() as http:
        yield Customer(http, stack.url, f"Павел of {request.node.name}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where a recording may be written."""
    return tmp_path / "run.ndjson"
