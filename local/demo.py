"""Show the promise: order once, repeat everything, and be charged once. `make demo`.

It runs against the stack of this folder (LOCAL_DIR, else .stack) if `make run` has started it, else against one of its
own; never against whatever else listens on the ports of `make run`. Every number it prints is checked.
"""

import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
from confluent_kafka import Consumer, KafkaException, TopicPartition

from local import folder, settings
from local.manifests import ManifestError
from local.program import Stopped, aside, run
from local.program import say as _say
from local.servers.kafka import ensure_jars
from local.servers.parts import PartFailedError
from local.settings import Settings, SettingsError
from local.stack import Stack
from shop.emission import emit, sink
from shop.errors import Unavailable
from shop.process import settings as functions
from shop.schema.events_pb2 import PaymentRequested

_SETTLED_WITHIN_S: Final = 30  # usually a tenth of a second; a first consumer group takes longer to form
_STARTED_WITHIN_S: Final = 60
_POLL_S: Final = 0.2


@dataclass(frozen=True)
class Place:
    """Where the shop is reached: over HTTP, and over the KafkaSink for a redelivery."""

    url: str
    payments_url: str
    kafka_bootstrap_servers: str


class Demo:
    """One customer, and what happens to them."""

    def __init__(self, place: Place, http: aiohttp.ClientSession) -> None:
        self._place = place
        self._http = http
        self._user = ""
        self.step = ""
        """What it is showing; before the first step, nothing."""

    async def run(self) -> None:
        """Tell the story.

        Raises:
            AssertionError: something was not charged exactly once.

        """
        self._user = await self._new_user()
        self._show_step(f"1. {self._user} orders a basket: the calls of the shop that this one replaces")
        await self._post("/CreateUser", user=self._user)
        await self._post("/DepositCash", user=self._user, sum=100)
        basket = (await self._get("/GetBasket", user=self._user))["basket"]
        await self._order(basket, 10)
        await self._settled(basket, "paid")
        await self._show(balance=90, log=["true"])

        self._show_step("2. The same order, five more times")
        for _ in range(5):
            await self._order(basket, 10)
            await self._show(balance=90, log=["true"])

        self._show_step("3. Its event, delivered three more times")
        for _ in range(3):
            await self._deliver_again(basket)
            await self._show(balance=90, log=["true"])

        self._show_step("4. A basket that the balance cannot pay")
        expensive = (await self._get("/GetBasket", user=self._user))["basket"]
        await self._order(expensive, 500)
        await self._settled(expensive, "open")
        await self._show(balance=90, log=["true", "false"])

        self._show_step("5. A top-up, and the event of the declined order again: what was declined stays declined")
        event = await self._event(expensive)
        await self._post("/DepositCash", user=self._user, sum=1000)
        await self._deliver_again(expensive, event)
        await self._show(balance=1090, log=["true", "false"])

        paid = (await self._get("/GetUser", quiet=True, user=self._user))["paid_baskets"]
        _expect(
            [(entry["basket"], entry["sum"]) for entry in paid] == [(basket, 10)], f"one charge of 10, found {paid}"
        )
        _say(f"\n{self._user} ordered a basket 6 times, and its event was delivered 4 times or more: charged once")

    def _show_step(self, step: str) -> None:
        _say(f"\n{step}" if self.step else step)
        self.step = step

    def report(self) -> str:
        """Return what was shown, for somebody who ends it early."""
        if not self.step:
            return "Nothing was ordered."
        return f"It ended in step {self.step[0]}; every number that it showed was right."

    async def _new_user(self) -> str:
        for number in itertools.count(1):
            user = "Pavel" if number == 1 else f"Pavel {number}"
            async with self._http.get(f"{self._place.url}/GetUser", params={"user": user}) as response:
                if response.status == 404:
                    return user
        raise AssertionError

    async def _post(self, path: str, **fields: object) -> Any:
        return await self._call("POST", path, fields)

    async def _get(self, path: str, *, quiet: bool = False, **fields: object) -> Any:
        return await self._call("GET", path, fields, quiet=quiet)

    async def _order(self, basket: str, sum_: int) -> None:
        await self._post("/Order", user=self._user, sum=sum_, basket=basket)

    async def _call(self, method: str, path: str, fields: dict[str, object], *, quiet: bool = False) -> Any:
        async with self._http.request(method, self._place.url + path, json=fields) as response:
            answer = await response.json()
            _expect(response.status == 200, f"{method} {path} to be answered 200, not {response.status} {answer}")
            if not quiet:
                replayed = " (replayed)" if "Idempotent-Replayed" in response.headers else ""
                shown = " ".join(f"{name}={value}" for name, value in fields.items() if name != "user")
                _say(f"   {method:<4} {path:<12} {shown:<40} {answer['message']}{replayed}")
            return answer

    async def _settled(self, basket: str, status: str) -> None:
        async def is_settled() -> bool:
            order = await self._get("/GetOrder", quiet=True, user=self._user, basket=basket)
            return order["message"] == status and order["decided_at"] is not None

        await _until(is_settled, f"basket {basket} to be {status}")

    async def _show(self, *, balance: int, log: list[str]) -> None:
        lines = [f"user {self._user} result {result}" for result in log]

        async def is_listed() -> bool:
            return len((await self._get("/List", quiet=True, user=self._user))["log"]) >= len(lines)

        await _until(is_listed, f"{len(lines)} notifications")
        listed = (await self._get("/List", quiet=True, user=self._user))["log"]
        shown = (await self._get("/GetUser", quiet=True, user=self._user))["balance"]
        results = ", ".join(line.removeprefix(f"user {self._user} ") for line in listed)
        _say(f"        balance {shown}, notified: {results}")
        _expect(shown == balance, f"a balance of {balance}, not {shown}")
        _expect(listed == lines, f"the notifications {lines}, not {listed}")

    async def _event(self, basket: str) -> PaymentRequested:
        """Build the event of the latest order from what GetOrder says: it is the one that was sent, byte for byte."""
        order = await self._get("/GetOrder", quiet=True, user=self._user, basket=basket)
        return PaymentRequested(
            user=self._user,
            basket=basket,
            number=order["number"],
            attempt=order["attempt"],
            sum=order["sum"],
            ordered_at=datetime.fromisoformat(order["ordered_at"]),
        )

    async def _deliver_again(self, basket: str, event: PaymentRequested | None = None) -> None:
        """Put the event into Kafka once more, and wait until billing has answered it once more."""
        event = event or await self._event(basket)
        before = await asyncio.to_thread(self._results)
        functions.use(replace(functions.get(), sink=self._place.payments_url))
        await emit.emit(event)

        async def is_answered() -> bool:
            return await asyncio.to_thread(self._results) > before

        await _until(is_answered, "billing's answer in topic results")
        _say(f"   event {basket}.{event.attempt} again")

    def _results(self) -> int:
        """Count the records of topic results."""
        consumer = Consumer({"bootstrap.servers": self._place.kafka_bootstrap_servers, "group.id": "demo"})
        try:
            partitions = consumer.list_topics("results", timeout=10).topics["results"].partitions
            ends = (consumer.get_watermark_offsets(TopicPartition("results", each), timeout=10) for each in partitions)
            return sum(high for _, high in ends)
        finally:
            consumer.close()


async def _until(condition: Any, what: str) -> None:
    try:
        async with asyncio.timeout(_SETTLED_WITHIN_S):
            while not await condition():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.05)
    except TimeoutError:
        _expect(False, f"{what} within {_SETTLED_WITHIN_S} s; is it a stack of this project, and does it work?")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"expected {what}")


@asynccontextmanager
async def place(http: aiohttp.ClientSession) -> AsyncIterator[Place]:
    """Find the stack that runs in our folder, or run one of our own for as long as the block does; say which.

    Raises:
        SettingsError: the one in our folder does not answer.

    """
    home = settings.folder(os.environ)
    if folder.runs(home):
        found = await _place_of(home, http)
        _say(f"Using the stack in {home}, at {found.url}\n")
        yield found
        return
    _say(f"No stack runs in {home}: starting one for this demo (a few seconds)\n")
    await aside(lambda: ensure_jars(_say))
    with tempfile.TemporaryDirectory() as own:
        async with Stack(Settings(port=0, folder=Path(own), mongodb_port=0, kafka_port=0, sink_port=0)) as stack:
            yield Place(stack.url, stack.sink_url("payments"), stack.kafka_bootstrap_servers)


async def _place_of(home: Path, http: aiohttp.ClientSession) -> Place:
    """Return where the stack of a folder is, once it answers: it may just be starting."""
    told: dict[str, Any] = {}
    try:
        async with asyncio.timeout(_STARTED_WITHIN_S):
            while True:
                told = folder.addresses(home)
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{told.get('url')}/List") as response:
                        if response.status == 200:
                            return Place(told["url"], told["sinks"]["payments"], told["kafka_bootstrap_servers"])
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise SettingsError(
            f"a stack runs in {home}, yet {told.get('url', 'it')} does not answer: look at {home / folder.LOGS}, "
            "or stop it and start it anew (make run)"
        ) from None


async def _main(demos: list[Demo]) -> None:
    async with aiohttp.ClientSession() as http, place(http) as found:
        demos.append(Demo(found, http))
        try:
            await demos[0].run()
        finally:
            await sink.close()


def main() -> None:
    """Run the demo; exit 1 when something was not charged exactly once, and as a signal does when one has ended it."""
    demos: list[Demo] = []
    try:
        run(_main(demos), _say)
    except (AssertionError, SettingsError, ManifestError, PartFailedError) as failure:
        sys.exit(f"{failure}")
    except (aiohttp.ClientError, KafkaException, Unavailable, TimeoutError) as failure:
        sys.exit(f"the stack does not answer any more: {failure or type(failure).__name__}")
    except Stopped as stopped:
        with contextlib.suppress(Stopped):
            _say(f"\nStopped: {stopped}. {demos[0].report() if demos else 'Nothing was ordered.'}")
        sys.exit(stopped.status)


if __name__ == "__main__":
    main()
