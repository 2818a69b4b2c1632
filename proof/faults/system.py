"""The running system with everything a test of faults needs at hand: to break it, to look into it, to wait for it."""

import base64
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from local.manifests import Patch
from local.settings import Settings
from local.stack import Stack
from proof.faults.customers import Shop
from proof.faults.replica_set import ReplicaSet
from proof.faults.topics import DEAD_LETTERS, PAYMENTS, RESULTS, Record, Topics, record_of
from proof.faults.waiting import eventually
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from tests.support.functions import FUNCTIONS, triggered

Document = dict[str, Any]

CONSUMERS = tuple(function.deployed for function in triggered("event").values())

# Small arrays, so that a handful of orders crosses their limit.
_LIMITS = {"ARRAY_LIMIT": "4", "ARCHIVE_BATCH": "2"}
_LIMITED = ("billing-handler", "deposit-cash")

# Retries that end within the patience of a test. Billing and settlement give up after 6 s, which resend heals;
# notifications are retried for 80 s, longer than any outage here, as in the manifests.
_PATCHES = [
    *(Patch("KafkaSource", name, "/spec/delivery/backoffDelay", "PT0.1S") for name in CONSUMERS),
    Patch("KafkaSource", "notify-handler", "/spec/delivery/backoffPolicy", "linear"),
    Patch("KafkaSource", "notify-handler", "/spec/delivery/retry", 40),
]


@dataclass(frozen=True)
class System:
    """A stack, its customers' client, its topics and its databases."""

    stack: Stack
    shop: Shop
    topics: Topics
    mongo: AsyncMongoClient[Document]
    replica_set: ReplicaSet | None = None
    """The MongoDB of the stack, when it is not the stack's own mongod."""

    def mount(self, token: str) -> None:
        """Give every function that emits this token, as if its SinkBinding had."""
        _replace(self.stack.folder / _MOUNTED, token)

    def demand(self, *tokens: str) -> None:
        """Have the KafkaSinks of both topics take these tokens and no others; any request, when none is named."""
        _replace(self.stack.folder / _DEMANDED, json.dumps({PAYMENTS: tokens, RESULTS: tokens} if tokens else {}))

    def collection(self, name: str) -> AsyncCollection[Document]:
        """Return a collection by its full name, `orders.baskets`, to be read as the functions read it."""
        database, _, collection = name.partition(".")
        return self.mongo[database].get_collection(collection, read_concern=ReadConcern("majority"))

    async def basket(self, basket: str) -> Document:
        """Return the stored basket."""
        stored = await self.collection("orders.baskets").find_one({"_id": ObjectId(basket)})
        assert stored is not None, basket
        return stored

    async def account(self, user: str) -> Document:
        """Return the stored user."""
        stored = await self.collection("billing.users").find_one({"_id": user})
        assert stored is not None, user
        return stored

    async def settled(self, basket: str) -> str:
        """Wait until a basket is no longer `ordered`, and return its status."""
        return str(await eventually(lambda: self._decided(basket)))

    async def healed(self, user: str, basket: str) -> str:
        """Let resend_orders tick, every few seconds instead of every minute, until a basket is settled."""
        for _ in range(10):
            await self.resend(user)
            with contextlib.suppress(TimeoutError):
                return str(await eventually(lambda: self._decided(basket), timeout_s=5))
        raise TimeoutError(f"ten resends have not settled {basket}")

    async def all_settled(self, users: Sequence[str]) -> None:
        """Let resend_orders tick until no basket of these users is `ordered`, and wait until all is consumed."""

        async def none_ordered() -> bool:
            under_way = {"user": {"$in": users}, "status": "ordered"}
            return await self.collection("orders.baskets").find_one(under_way) is None

        for _ in range(10):
            with contextlib.suppress(TimeoutError):
                await eventually(none_ordered, timeout_s=5)
                return await self.drained()
            await self.resend(*users)
        raise TimeoutError("ten resends have not settled all orders")

    async def _decided(self, basket: str) -> str | None:
        status: str = (await self.basket(basket))["status"]
        return None if status == "ordered" else status

    async def notified(self, user: str, count: int) -> list[tuple[str, str]]:
        """Wait until the user has this many notifications; return the id and outcome of each, sorted."""

        async def notifications() -> list[tuple[str, str]]:
            found = await self.shop.notifications(user)
            return found if len(found) >= count else []

        return await eventually(notifications)

    async def pay(self, user: str, sum_: int) -> str:
        """Order the user's basket, wait until it is paid, and return it."""
        basket, attempt = await self.shop.basket(user)
        reply = await self.shop.order(user, basket, sum_, attempt)
        assert reply.status == 200, reply
        assert await self.settled(basket) == "paid"
        return basket

    async def make_due(self, *users: str) -> None:
        """Make the ordered baskets of these users due for a resend; of all, when none is named."""
        chosen: Document = {"user": {"$in": users}} if users else {}
        await self.collection("orders.baskets").update_many(
            {"status": "ordered", **chosen}, [{"$set": {"resend_at": {"$subtract": ["$$NOW", 1000]}}}]
        )

    async def tick(self) -> int | None:
        """Let resend_orders tick now, and return its answer; None when there was none."""
        return await self.stack.pings["resend-orders"].tick()

    async def resend(self, *users: str) -> None:
        """Make the ordered baskets of these users due, and let resend_orders tick."""
        await self.make_due(*users)
        assert await self.tick() == 200

    async def post(self, service: str, event: PaymentRequested | PaymentDecided) -> int:
        """Deliver an event to a function as KafkaSource would, and return the status."""
        record = record_of(event)
        headers = {name.replace("ce_", "ce-"): value for name, value in record.headers.items()}
        async with (
            aiohttp.ClientSession(skip_auto_headers=("Content-Type",)) as client,
            client.post(self.stack.function_url(service), data=record.value, headers=headers) as response,
        ):
            return response.status

    def handled(self, service: str, key: str) -> list[str]:
        """Return the outcomes that a function logged for an event id, a user or a basket."""
        lines = self.stack.log_file(service).read_text(encoding="utf-8", errors="replace").splitlines()
        found = [json.loads(line) for line in lines if key in line and line.startswith("{")]
        return [line["outcome"] for line in found if line.get("key") == key]

    async def delivered(self, service: str, key: str, times: int = 2) -> list[str]:
        """Wait until a function has handled an event so often, and return the outcomes."""

        async def outcomes() -> list[str]:
            found = self.handled(service, key)
            return found if len(found) >= times else []

        return await eventually(outcomes)

    async def emitted(self, topic: str, id_: str) -> Record:
        """Wait until a function has emitted this event, and return its record."""

        async def found() -> list[Record]:
            return self.topics.emissions(topic, id_)

        return (await eventually(found))[0]

    async def dead_letter(self, id_: str, service: str) -> Record:
        """Wait for the dead letter of an event that a function did not take."""
        destination = self.stack.function_url(service)

        async def found() -> Record | None:
            letters = self.topics.records(DEAD_LETTERS, id_)
            return next((one for one in letters if one.headers["ce_knativeerrordest"] == destination), None)

        letter = await eventually(found)
        assert letter is not None
        return letter

    async def dead_letter_of(self, value: bytes) -> Record:
        """Wait for the dead letter that carries this data."""

        async def found() -> Record | None:
            return next((one for one in self.topics.records(DEAD_LETTERS) if one.value == value), None)

        letter = await eventually(found)
        assert letter is not None
        return letter

    def reason(self, letter: Record) -> str:
        """Return what the function said when it refused the event."""
        return base64.b64decode(letter.headers["ce_knativeerrordata"]).decode()

    async def drained(self, *groups: str) -> None:
        """Wait until these consumer groups, or all, have committed everything that is in their topics."""
        await eventually(lambda: self.topics.consumed(*(groups or CONSUMERS)), timeout_s=90)

    @contextmanager
    def frozen(self, part: str) -> Iterator[int]:
        """Freeze a part's process (SIGSTOP) for the block, unless it is killed in it; give its id."""
        pid = self.stack.pid(part)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def restart(self, part: str) -> None:
        """Kill a part (SIGKILL) and wait until it is ready again."""
        await self.stack.kill(part)
        await self.stack.wait_ready(part)


_MOUNTED, _DEMANDED = "mounted.token", "tokens.json"


def _replace(file: Path, text: str) -> None:
    """Write a file that is there as a whole or as it was."""
    file.with_suffix(".new").write_text(text)
    file.with_suffix(".new").rename(file)


@asynccontextmanager
async def running(settings: Settings, replica_set: ReplicaSet | None = None) -> AsyncIterator[System]:
    """Run a stack with small arrays and short retries, in which every event is delivered twice."""
    folder = settings.folder.absolute()
    mounted = {"SINK_TOKEN_FILE": str(folder / _MOUNTED)}
    environments = {function.deployed: mounted for function in FUNCTIONS.values() if function.emits}
    for name in _LIMITED:
        environments[name] = {**environments.get(name, {}), **_LIMITS}
    settings = replace(settings, sink_tokens=folder / _DEMANDED)
    async with (
        Stack(settings, patches=_PATCHES, env_overrides=environments) as stack,
        Topics(stack.kafka_bootstrap_servers) as topics,
        AsyncMongoClient[Document](stack.mongodb_uri, tz_aware=True, w="majority") as mongo,
    ):
        shop = Shop(stack.url)
        try:
            yield System(stack, shop, topics, mongo, replica_set)
        finally:
            await shop.close()
