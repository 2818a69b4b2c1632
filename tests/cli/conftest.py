"""`orders` as a person runs it, against a stack, and a customer of that stack."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cli.command import Orders
from tests.stack_fixtures import eventually, stack

__all__ = ["stack"]


@pytest.fixture(scope="session")
def orders(stack: Any) -> Orders:
    """Run `orders` against the stack of this session."""
    return Orders({"LOCAL_DIR": str(stack.folder)})


class Customer:
    """Somebody who orders over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, url: str, user: str) -> None:
        self.user = user
        self._http = http
        self._url = url

    async def call(self, method: str, path: str, **fields: object) -> Any:
        """Send a request that must be answered 200."""
        async with self._http.request(method, self._url + path, json={"user": self.user, **fields}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def deposit(self, sum_: int) -> None:
        """Have an account with money."""
        await self.call("POST", "/CreateUser")
        await self.call("POST", "/DepositCash", sum=sum_)

    async def order(self, sum_: int) -> str:
        """Order the basket and return its id once it is decided, settled and notified."""
        basket = await self.call("GET", "/GetBasket")
        key = {"basket": basket["basket"], "attempt": basket["attempt"]}
        await self.call("POST", "/Order", sum=sum_, **key)

        async def notified() -> bool:
            settled = (await self.call("GET", "/GetOrder", basket=key["basket"]))["message"] != "ordered"
            listed = (await self.call("GET", "/List"))["notifications"]
            return settled and any((each["basket"], each["attempt"]) == tuple(key.values()) for each in listed)

        await eventually(notified)
        return str(key["basket"])


@pytest.fixture
async def customer(stack: Any, request: pytest.FixtureRequest) -> AsyncIterator[Customer]:
    """Return a customer of the stack whom no other test knows."""
    async with aiohttp.ClientSession() as http:
        yield Customer(http, stack.url, f"Павел of {request.node.name}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where a recording may be written."""
    return tmp_path / "run.ndjson"
