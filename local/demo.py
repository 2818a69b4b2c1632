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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from confluent_kafka import Consumer, KafkaException, TopicPartition

from local import folder, settings
from local.fields import ManifestError
from local.program import Stopped, aside, end_early, run
from local.program import say as _say
from local.servers.kafka_program import installed
from local.servers.parts import PartFailedError
from local.settings import Settings, SettingsError
from local.stack import Stack
from wire.delivery import DeliverySpec, Sender, UndeliveredError
from wire.event import parse
from wire.login import LoginError, login
from wire.record import Record

_SETTLED_WITHIN_S: Final = 30  # usually a tenth of a second; a first consumer group takes longer to form
_STARTED_WITHIN_S: Final = 60
_KAFKA_TIMEOUT_S: Final = 10
_POLL_S: Final = 0.2


@dataclass(frozen=True)
class Shop:
    """Where it is reached: over HTTP, and by its Kafka and a KafkaSink for a redelivery."""

    url: str
    payments_url: str
    kafka_bootstrap_servers: str
    kafka_login: Mapping[str, str] = field(default_factory=dict, repr=False)

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the offset behind the last record of each partition."""
        return await asyncio.to_thread(self._ends, topic)

    def _ends(self, topic: str) -> dict[int, int]:
        with self._consumer() as consumer:
            partitions = consumer.list_topics(topic, timeout=_KAFKA_TIMEOUT_S).topics[topic].partitions
            return {
                partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_KAFKA_TIMEOUT_S)[1]
                for partition in partitions
            }

    async def payment(self, basket: str, begins: Mapping[int, int]) -> Record:
        """Return the latest record of topic payments about a basket, behind these offsets."""
        return await asyncio.to_thread(self._payment, basket, begins)

    def _payment(self, basket: str, begins: Mapping[int, int]) -> Record:
        ends = self._ends("payments")
        with self._consumer() as consumer:
            consumer.assign([TopicPartition("payments", partition, offset) for partition, offset in begins.items()])
            count = sum(ends[partition] - begins[partition] for partition in begins)
            records = map(Record.from_message, consumer.consume(count, timeout=_KAFKA_TIMEOUT_S))
            of_basket = [record for record in records if dict(record.texts)["ce_id"].startswith(f"{basket}.")]
        _expect(bool(of_basket), f"an event of basket {basket} in topic payments")
        return of_basket[-1]

    @contextlib.contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        servers = {"bootstrap.servers": self.kafka_bootstrap_servers, **self.kafka_login}
        consumer = Consumer({**servers, "group.id": "demo", "enable.auto.commit": False})
        try:
            yield consumer
        finally:
            consumer.close()


class Demo:
    """One customer, and what happens to them."""

    def __init__(self, shop: Shop, http: aiohttp.ClientSession, user: str) -> None:
        self._shop = shop
        self._http = http
        self._user = user
        self._begins: Mapping[int, int] = {}  # where this demo's events begin in topic payments
        self.step = ""
        """What it is showing; before the first step, nothing."""

    async def run(self) -> None:
        """Tell the story.

        Raises:
            AssertionError: something was not charged exactly once.

        """
        self._begins = await self._shop.ends("payments")
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
        await self._post("/DepositCash", user=self._user, sum=1000)
        await self._deliver_again(expensive)
        await self._show(balance=1090, log=["true", "false"])

        paid = (await self._get("/GetUser", quiet=True, user=self._user))["paid_baskets"]
        _expect(
            [(entry["basket"], entry["sum"]) for entry in paid] == [(basket, 10)], f"one charge of 10, found {paid}"
        )
        _say(f"\n{self._user} ordered a basket 6 times, and its event was delivered at least 4 times: charged once")

    def _show_step(self, step: str) -> None:
        _say(f"\n{step}" if self.step else step)
        self.step = step

    def report(self) -> str:
        """Return what was shown, for somebody who ends it early."""
        if not self.step:
            return "Nothing was ordered."
        return f"It ended in step {self.step[0]}; every number that it showed was right."

    async def _post(self, path: str, **fields: object) -> Any:
        return await self._call("POST", path, fields)

    async def _get(self, path: str, *, quiet: bool = False, **fields: object) -> Any:
        return await self._call("GET", path, fields, quiet=quiet)

    async def _order(self, basket: str, sum_: int) -> None:
        await self._post("/Order", user=self._user, sum=sum_, basket=basket)

    async def _call(self, method: str, path: str, fields: dict[str, object], *, quiet: bool = False) -> Any:
        async with self._http.request(method, self._shop.url + path, json=fields) as response:
            answer = await response.json()
            hint = "; this demo sends no token: run it on a stack without AUTH_*" if response.status == 401 else ""
            _expect(response.status == 200, f"{method} {path} to be answered 200, not {response.status} {answer}{hint}")
            if not quiet:
                replayed = " (replayed)" if "Idempotent-Replayed" in response.headers else ""
                shown = " ".join(f"{name}={value}" for name, value in fields.items() if name != "user")
                _say(f"   {method:<4} {path:<12} {shown:<40} {answer['message']}{replayed}")
            return answer

    async def _settled(self, basket: str, status: str) -> None:
        async def is_settled() -> bool:
            order = await self._get("/GetOrder?wait=20", quiet=True, user=self._user, basket=basket)
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

    async def _deliver_again(self, basket: str) -> None:
        """Send the event to its KafkaSink again, byte for byte, and wait until billing has answered it again."""
        record = await self._shop.payment(basket, self._begins)
        before = await self._shop.ends("results")
        event = parse(record.texts, record.value, "ce_")
        sender = Sender(self._shop.payments_url, "shop", DeliverySpec(retry=3))
        try:
            await sender.send(event, record.texts)
        finally:
            sender.close()

        async def is_answered() -> bool:
            return await self._shop.ends("results") != before

        await _until(is_answered, "billing's answer in topic results")
        _say(f"   event {event.text('id')} again")


async def new_user(url: str, http: aiohttp.ClientSession) -> str:
    """Return a name that no user of this shop has: Pavel, Pavel 2, and so on."""
    for number in itertools.count(1):
        user = "Pavel" if number == 1 else f"Pavel {number}"
        async with http.get(f"{url}/GetUser", params={"user": user}) as response:
            if response.status == 404:
                return user
    raise AssertionError


async def _until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
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
async def own_shop() -> AsyncIterator[Shop]:
    """Run a stack for as long as the block does, with data that nobody keeps."""
    await aside(lambda: installed(_say))
    with tempfile.TemporaryDirectory() as own:
        async with Stack(Settings(port=0, folder=Path(own), mongodb_port=0, kafka_port=0, sink_port=0)) as stack:
            yield Shop(stack.url, stack.sink_url("payments"), stack.kafka_bootstrap_servers)


@asynccontextmanager
async def shop_of(
    home: Path,
    http: aiohttp.ClientSession,
    *,
    own: Callable[[], AbstractAsyncContextManager[Shop]] = own_shop,
    timeout_s: float = _STARTED_WITHIN_S,
) -> AsyncIterator[Shop]:
    """Find the stack that runs in a folder, or run one of our own for as long as the block does; say which.

    Raises:
        SettingsError: the one in the folder does not answer.

    """
    if folder.runs(home):
        found = await _answering(home, http, timeout_s)
        _say(f"Using the stack in {home}, at {found.url}\n")
        yield found
        return
    _say(f"No stack runs in {home}: starting one for this demo (a few seconds)\n")
    async with own() as started:
        yield started


async def _answering(home: Path, http: aiohttp.ClientSession, timeout_s: float) -> Shop:
    """Return where the stack of a folder is, once it answers: it may just be starting."""
    told: dict[str, Any] = {}
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                told = folder.addresses(home)
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{told.get('url')}/List") as response:
                        if response.status == 200:
                            servers = told["kafka_bootstrap_servers"]
                            return Shop(told["url"], told["sinks"]["payments"], servers, login(os.environ))
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise SettingsError(
            f"a stack runs in {home}, but {told.get('url', 'it')} does not answer: see {home / folder.LOGS}, "
            "or stop it and run `make run` again"
        ) from None


async def _main(demos: list[Demo]) -> None:
    async with aiohttp.ClientSession() as http, shop_of(settings.folder(os.environ), http) as shop:
        demos.append(Demo(shop, http, await new_user(shop.url, http)))
        await demos[0].run()


def main() -> None:
    """Run the demo; exit 1 when something was not charged exactly once, and as a signal does when one has ended it."""
    demos: list[Demo] = []
    try:
        run(_main(demos), _say)
    except (AssertionError, LoginError, SettingsError, ManifestError, PartFailedError) as failure:
        sys.exit(f"{failure}")
    except (aiohttp.ClientError, KafkaException, UndeliveredError, TimeoutError) as failure:
        sys.exit(f"the stack no longer answers: {failure or type(failure).__name__}")
    except Stopped as stopped:
        end_early(stopped, demos[0].report() if demos else "Nothing was ordered.")


if __name__ == "__main__":
    main()
