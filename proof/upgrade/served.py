"""Functions of one version as real processes, customers who call them, and deliveries to them."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from proof.upgrade.kept import LIMITS, Emitted
from tests.support.functions import consumers
from tests.support.processes import ROOT, Process, serving
from tests.support.sink import Sink
from wire.event import Event

TICK = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/ping", "ce-type": "dev.knative.sources.ping"}
"""The headers of what a PingSource sends."""

_OF_THE_CLIENT = ("host", "content-length", "accept", "accept-encoding", "user-agent")
_RETRIES, _RETRY_AFTER_S = 5, 0.5  # for a machine so busy that an emission takes 2 s
_AT_ONCE = 3  # that start; more of them would only take turns


@dataclass(frozen=True)
class Answer:
    """What a function answered."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)


class Functions:
    """Functions of one checkout, each a process, and one sink for what they emit."""

    def __init__(self, uri: str, sink: Sink, folder: Path = ROOT) -> None:
        """Take the limits of the dump."""
        self.processes: dict[str, Process] = {}
        self._environment = {"MONGODB_URI": uri, "K_SINK": sink.url, **LIMITS}
        self._folder = folder
        self._sink = sink

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        self._opened = AsyncExitStack()
        self._http = await self._opened.enter_async_context(aiohttp.ClientSession())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill what still runs."""
        await self._opened.aclose()

    async def start(self, *names: str) -> None:
        """Start functions, and return when they are ready."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def start(name: str) -> None:
            environment = {**self._environment, "FUNCTION_TARGET": name}
            command = (sys.executable, "-m", "shop.serve")
            async with turns:
                served = serving(command, environment, self._folder)
                self.processes[name] = await self._opened.enter_async_context(served)

        await asyncio.gather(*map(start, names))

    async def end(self, name: str) -> None:
        """End a function with SIGTERM, as a rollout does, while requests still come to it."""
        ending = self.processes[name]
        ending.terminate()
        await ending.process.wait()
        del self.processes[name]

    async def call(
        self,
        function: str,
        method: str,
        path: str,
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request."""
        url = f"http://127.0.0.1:{self.processes[function].port}{path}"
        async with self._http.request(method, url, json=fields, headers=headers) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def deliver(self, function: str, headers: Mapping[str, str], data: bytes) -> Answer:
        """POST an event in binary mode."""
        url = f"http://127.0.0.1:{self.processes[function].port}/"
        async with self._http.post(url, data=data, headers=headers) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def deliver_until_done(self, function: str, headers: Mapping[str, str], data: bytes) -> Answer:
        """POST an event until it is answered something else than "later", as a KafkaSource does."""
        for _ in range(_RETRIES):
            answer = await self.deliver(function, headers, data)
            if answer.status != 503:
                break
            await asyncio.sleep(_RETRY_AFTER_S)
        return answer

    def emitted(self) -> list[Emitted]:
        """Return what came to the sink since the last call, without what only the client's library sends."""
        received, self._sink.received[:] = list(self._sink.received), []
        return [
            ({k.lower(): v for k, v in each.headers if k.lower() not in _OF_THE_CLIENT}, each.body) for each in received
        ]

    async def settle(self) -> list[Answer]:
        """Bring what was emitted to its consumers, and what they emit, until nothing is on its way; twice each.

        Returns the answers that were not 200.
        """
        refused = []
        while events := self.emitted():
            for headers, data in events:
                for consumer in consumers(headers["ce-type"]):
                    first, second = [await self.deliver_until_done(consumer, headers, data) for _ in range(2)]
                    assert first.status == second.status
                    refused += [] if first.status == 200 else [first]
        return refused

    # --- what customers do ---

    async def create_user(self, user: str) -> Answer:
        """Make an account."""
        return await self.call("create_user", "POST", "/CreateUser", {"user": user})

    async def deposit(self, user: str, sum_: int, key: str | None = None) -> Answer:
        """Deposit; once, when there is a key."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.call("deposit_cash", "POST", "/DepositCash", {"user": user, "sum": sum_}, headers)

    async def account(self, user: str) -> Any:
        """Return what GetUser answers."""
        return (await self.call("get_user", "GET", "/GetUser", {"user": user})).json

    async def order(self, user: str, sum_: int, decided_by: "Functions | None" = None) -> str:
        """Order the user's basket, let it be decided, settled and notified, and return what became of it."""
        basket = (await self.call("get_basket", "GET", "/GetBasket", {"user": user})).json
        order = {"user": user, "basket": basket["basket"]}
        sent = {**order, "sum": sum_, "attempt": basket["attempt"]}
        for _ in range(2):
            assert (await self.call("create_order", "POST", "/Order", sent)).status == 200
        if decided_by is not None:
            for headers, data in self.emitted():
                assert (await decided_by.deliver("billing_handler", headers, data)).status == 200
            for headers, data in decided_by.emitted():
                for consumer in consumers(headers["ce-type"]):
                    assert (await self.deliver(consumer, headers, data)).status == 200
        assert await self.settle() == []
        return str((await self.call("get_order", "GET", "/GetOrder", order)).json["message"])


def headers_of(event: Event) -> dict[str, str]:
    """Return the headers that KafkaSource delivers an event with, in binary mode."""
    return dict(event.headers("ce-"))


async def posted(url: str, event: Event) -> tuple[int, str]:
    """POST an event in binary mode; return the status and the text."""
    async with aiohttp.ClientSession() as http, http.post(url, data=event.data, headers=headers_of(event)) as answer:
        return answer.status, await answer.text()


async def setup(uri: str, *arguments: str, folder: Path = ROOT) -> tuple[int, str]:
    """Run `python -m shop.setup` of a checkout; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop.setup", *arguments),
        cwd=folder,
        env={**os.environ, "MONGODB_URI": uri},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode or 0, said.decode()
