"""The HTTP functions behind their paths, every answer held to docs/openapi.yaml; delivery of events by hand."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from shop.process import process
from shop.setup import COLLECTIONS
from shop.store.client import collection
from tests.support import openapi
from tests.support.asgi import Answer, call
from tests.support.functions import consumers
from tests.support.sink import Received, Sink


@dataclass
class Client:
    """Sends requests to the functions by path; an answer that docs/openapi.yaml does not describe fails the test."""

    sink: Sink
    start_anew: Callable[..., None]
    """Lets processes that just started, with some other settings, answer from now on."""

    async def get(self, path: str, fields: Mapping[str, object] | None = None, **headers: str) -> Answer:
        """GET with the fields as a JSON body, as the seed's clients do."""
        return await self.send("GET", path, json.dumps(fields).encode() if fields is not None else b"", **headers)

    async def query(self, path: str, fields: Mapping[str, object], **headers: str) -> Answer:
        """GET with the fields in the query."""
        return await self.send("GET", path, query=urlencode(fields), **headers)

    async def post(self, path: str, fields: Mapping[str, object], **headers: str) -> Answer:
        """POST the fields as a JSON body."""
        return await self.send("POST", path, json.dumps(fields).encode(), **headers)

    async def send(
        self, method: str, path: str, body: bytes = b"", *, query: str | bytes = b"", **headers: str
    ) -> Answer:
        """Send a request as it is; `_` in the name of a header stands for `-`."""
        ((_, operation),) = openapi.DOCUMENT["paths"][path].items()
        answer = await call(
            operation["operationId"],
            method,
            path=path,
            query=query,
            headers=[(name.replace("_", "-"), value) for name, value in headers.items()],
            body=body,
        )
        openapi.check_answer(path, answer.status, answer.headers, answer.body, method)
        return answer

    async def user(self, user: str = "Pavel", balance: int = 0) -> str:
        """Make a user with this balance."""
        assert (await self.post("/CreateUser", {"user": user})).status == 200
        if balance:
            assert (await self.post("/DepositCash", {"user": user, "sum": balance})).status == 200
        return user

    async def balance(self, user: str = "Pavel") -> int:
        """Return a user's balance."""
        return int((await self.get("/GetUser", {"user": user})).json["balance"])

    async def basket(self, user: str = "Pavel") -> str:
        """Return the user's unpaid basket."""
        return str((await self.get("/GetBasket", {"user": user})).json["basket"])

    async def ordered(self, sum_: int = 10) -> dict[str, Received]:
        """Order the user's basket, have it decided, and return both events by their kinds; neither is delivered on."""
        basket = await self.basket()
        assert (await self.post("/Order", {"user": "Pavel", "sum": sum_, "basket": basket})).status == 200
        (requested,) = self.sink.received
        assert (await self.bring("billing_handler", requested)).status == 200
        (_, decided), self.sink.received[:] = self.sink.received, []
        return {"PaymentRequested": requested, "PaymentDecided": decided}

    async def bring(self, consumer: str, event: Received) -> Answer:
        """Deliver an event to one of its consumers, as often as the caller likes."""
        return await call(consumer, headers=event.headers, body=event.body)

    async def deliver(self) -> None:
        """Bring what was emitted to its consumers, and what they emit, until nothing is on its way."""
        while self.sink.received:
            event = self.sink.received.pop(0)
            for consumer in consumers(event.header("ce-type") or ""):
                assert (await call(consumer, headers=event.headers, body=event.body)).status == 200


async def everything() -> list[Any]:
    """Return what is stored, all of it."""
    return [await collection(each.service, each.name).find().sort("_id").to_list() for each in COLLECTIONS]


@pytest.fixture
async def sink(configure: Callable[..., None]) -> AsyncIterator[Sink]:
    """Listen where K_SINK says."""
    async with Sink() as listening:
        configure(sink=listening.url)
        yield listening
        await process.current().close()


@pytest.fixture
async def client(shop: None, sink: Sink, configure: Callable[..., None]) -> Client:
    """Call the functions on empty databases, with a sink that takes everything."""
    return Client(sink, configure)
