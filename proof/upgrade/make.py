"""Make the dump of 67d5614 anew: run this in a checkout of that commit, whose code it drives. README.md says how.

The whole stack of that commit runs, on a real MongoDB and a real Kafka, with arrays of 4 entries of which 2 move to the
archive. Customers bring about every state that it knows; each function below makes one customer.
"""

import asyncio
import base64
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
from bson import Int64, json_util
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

import shop
from cli.events import Recording, attribute
from local.cloudevents import Event
from local.stack import KAFKA_SINK, Stack
from shop import billing, mongo
from shop.orders import payment_requested
from shop.setup import COLLECTIONS
from tests.cli.command import Orders
from tests.faults.customers import Shop
from tests.processes import shop_serve
from tests.sink import Sink
from tests.stack_fixtures import eventually, free

FOLDER = Path(__file__).parent
LIMITS = {"ARRAY_LIMIT": "4", "ARCHIVE_BATCH": "2"}
TOPICS = ("payments", "results", "dead-letters")
TIMES = 10
"""How often the damaged account counted one move."""


class Season:
    """What customers do, one after the other, each told by name."""

    def __init__(self, stack: Stack, database: MongoClient[Any], folder: Path, bug: Path) -> None:
        self.stack = stack
        self.database = database
        self.bug = bug
        self.shop = Shop(stack.url)
        self._orders = Orders({"LOCAL_DIR": str(stack.folder)})
        self._folder = folder

    async def user(self, user: str, *deposits: int) -> str:
        """Make an account, each deposit under its key: first-1, first-2, ..."""
        assert (await self.shop.create_user(user)).status == 200
        for number, sum_ in enumerate(deposits, 1):
            assert (await self.shop.deposit(user, sum_, f"first-{number}")).status == 200
        return user

    async def order(self, user: str, *sums: int) -> str:
        """Order for each of the sums; return the basket of the last one, once it is settled and notified."""
        for sum_ in sums:
            basket, attempt = await self.shop.basket(user)
            assert (await self.shop.order(user, basket, sum_, attempt)).status == 200
            await eventually(lambda b=basket: self.settled(user, b))
            await eventually(lambda b=basket, a=attempt: self.notified(user, b, a))
        return basket

    async def settled(self, user: str, basket: str) -> bool:
        """Tell whether a basket is decided."""
        return bool((await self.shop.get_order(user, basket)).body["message"] != "ordered")

    async def notified(self, user: str, basket: str, attempt: int) -> bool:
        """Tell whether an attempt is notified, or its notification is a dead letter."""
        ids = [id_ for id_, _ in await self.shop.notifications(user)]
        return self.bug.exists() or f"{basket}.{attempt}" in ids

    async def record(self, topic: str, file: Path | None = None) -> list[Event]:
        """Record a topic, as a person does."""
        file = self._folder / f"{topic}.ndjson" if file is None else file
        run = await self._orders("event", "record", "--topic", topic, "-o", file)
        assert run.code == 0, run.err
        return list(Recording(file)) if file.stat().st_size else []

    async def payments_of(self, user: str) -> list[Event]:
        """Return what was emitted to ask for this user's payments, each event once, by number."""
        found = {
            attribute(event, "id"): event
            for event in await self.record("payments")
            if f'"{user}"' in json.dumps(user_of(event), ensure_ascii=False)
        }
        ids = [f"{each['_id']}." for each in self.database.orders.baskets.find({"user": user}).sort("number")]
        return sorted(found.values(), key=lambda event: ids.index(attribute(event, "id")[:25]))

    async def dead(self, count: int) -> None:
        """Wait until there are so many dead letters."""

        async def enough() -> bool:
            return len(await self.record("dead-letters")) >= count

        await eventually(enough)

    def lose_payments(self, user: str) -> None:
        """Restore billing's part of a user from a backup that has the deposits and is older than the payments."""
        account = self.database.billing.users.find_one({"_id": user})
        deposited = sum(each["sum"] for each in account["deposits"])
        older = {"_id": user, "balance": Int64(deposited), "deposits": account["deposits"]}
        self.database.billing.users.replace_one({"_id": user}, older)
        self.database.billing.paid_baskets.delete_many({"user": user})

    async def deliver(self, event: Event) -> None:
        """Replay a payment at billing-handler, as `orders replay` does."""
        await posted(self.stack.function_url("billing-handler"), event)

    async def produce(self, event: Event) -> None:
        """Send an event to the topic payments."""
        await posted(self.stack.sink_url("payments"), event)


def user_of(event: Event) -> str:
    """Return the user of a payment's event."""
    return str(billing.PaymentRequested.FromString(event.data or b"").user)


async def posted(url: str, event: Event) -> tuple[int, str]:
    """POST an event in binary mode; return the status and the text."""
    kept = {k: v for k, v in event.attributes.items() if not k.startswith("k")}  # not where it was in Kafka
    headers = dict(Event(kept, event.data).headers("ce-"))
    async with aiohttp.ClientSession() as http, http.post(url, data=event.data, headers=headers) as answer:
        return answer.status, await answer.text()


# --- customers -------------------------------------------------------------------------------------------------------


async def archived(season: Season) -> None:
    """Nine paid baskets and nine deposits, of each two are in the arrays still; the tenth basket was never ordered."""
    user = await season.user("Павел", *range(100, 109))
    await season.order(user, *range(11, 20))
    await season.shop.basket(user)


async def keyless(season: Season) -> None:
    """Deposits without keys, in the array and in the archive; a first paid basket and no second one."""
    user = await season.user("keyless")
    for sum_ in range(1, 8):
        assert (await season.shop.deposit(user, sum_)).status == 200
    await season.order(user, 5)


async def declined(season: Season) -> None:
    """A second basket that was declined is open again, and could be paid by now."""
    user = await season.user("declined", 50)
    await season.order(user, 20, 100)
    assert (await season.shop.deposit(user, 500, "top-up")).status == 200


async def persistent(season: Season) -> None:
    """A first basket that was declined twice and paid at its third attempt is in the archive."""
    user = await season.user("persistent", 10)
    await season.order(user, 60, 61)
    assert (await season.shop.deposit(user, 300, "top-up")).status == 200
    await season.order(user, 62, 1, 2, 3)


async def stub(season: Season) -> None:
    """A decline of a user who does not exist."""
    await season.order("$balance", 7)


async def completed_stub(season: Season) -> None:
    """The same, and the account was made and filled afterwards."""
    await season.order("completed stub", 7)
    await season.user("completed stub", 70)


async def unnotified(season: Season) -> None:
    """A decline whose notification is a dead letter: notify_handler had a bug."""
    user = await season.user("unnotified", 5)
    season.bug.write_text("for good")
    before = len(await season.record("dead-letters"))
    await season.order(user, 6)
    await season.dead(before + 1)
    season.bug.unlink()


async def damaged(season: Season) -> None:
    """Numbers were decided out of order, then one payment came ten times at once: one move is counted ten times."""
    user = await season.user("damaged", 1000)
    await season.order(user, 10, 20, 30, 40)
    one, two, three, four = await season.payments_of(user)
    season.lose_payments(user)
    for event in (four, one, two, three):
        await season.deliver(event)
    await season.order(user, 50)
    await season.stack.stop_part("billing-handler")
    basket, attempt = await season.shop.basket(user)
    assert (await season.shop.order(user, basket, 60, attempt)).status == 200
    stored = season.database.orders.baskets.find_one({"user": user, "number": 6})
    requested = payment_requested(stored)
    data = requested.SerializeToString(deterministic=True)
    six = Event({**four.attributes, "id": f"{basket}.{attempt}", "subject": basket, "time": _time(stored)}, data)
    async with (
        gate(TIMES) as sink,
        shop_serve("billing_handler", **LIMITS, **season_uri(season), K_SINK=sink) as served,
    ):
        await asyncio.gather(*(posted(f"http://127.0.0.1:{served.port}", six) for _ in range(TIMES)))
    await season.stack.start_part("billing-handler")
    await eventually(lambda: season.settled(user, basket))
    await eventually(lambda: season.notified(user, basket, attempt))
    account = season.database.billing.users.find_one({"_id": user})
    assert account["archived"]["paid"] == 50 + TIMES * 50, account
    assert account["archived_through"] == 4


async def late(season: Season) -> None:
    """The first payment came after later ones were archived, and was refused: all up to number 3 were "archived"."""
    user = await season.user("late", 1000)
    await season.order(user, 1, 2, 3, 4, 5)
    one, *others = await season.payments_of(user)
    season.lose_payments(user)
    for event in others:
        await season.deliver(event)
    before = len(await season.record("dead-letters"))
    await season.produce(one)
    await season.dead(before + 1)


async def half_moved(season: Season) -> None:
    """Somebody died between the two steps of a move: entries are in the archive and in the array."""
    user = await season.user("half moved", 200, 300, 400)
    await season.order(user, 21, 22, 23)
    account = season.database.billing.users.find_one({"_id": user})
    assert "archived" not in account

    def dead() -> Any:
        raise ConnectionFailure("died here")

    with mock.patch.dict(os.environ, {**season_uri(season), "ARRAY_LIMIT": "2", "ARCHIVE_BATCH": "2"}):
        with mock.patch.object(billing, "_users", dead):
            await billing.archive_paid_baskets(account)
            await billing.archive_deposits(account)
        await mongo.close()
    assert season.database.billing.paid_baskets.count_documents({"user": user}) == 2
    assert season.database.billing.deposits.count_documents({"user": user}) == 2


async def forged(season: Season) -> None:
    """An event with another sum than was paid, one of a basket that orders does not know, and what is no event."""
    user = await season.user("forged at", 100)
    await season.order(user, 30)
    (paid,) = await season.payments_of(user)
    before = len(await season.record("dead-letters"))
    edited = billing.PaymentRequested.FromString(paid.data or b"")
    edited.sum = 31
    await season.produce(Event(paid.attributes, edited.SerializeToString(deterministic=True)))
    stranger = billing.PaymentRequested.FromString(paid.data or b"")
    stranger.basket, stranger.number, stranger.sum = "0123456789abcdef01234567", 2, 9
    attributes = {**paid.attributes, "id": f"{stranger.basket}.1", "subject": stranger.basket}
    await season.produce(Event(attributes, stranger.SerializeToString(deterministic=True)))  # charged, then refused
    await season.produce(Event(paid.attributes, b"not protobuf"))
    await season.dead(before + 3)


async def ordered(season: Season) -> None:
    """An order that did not reach the topic, for it is down; the basket will ask again."""
    await season.shop.order("ordered", *(await season.shop.basket("ordered"))[:1], 25)


async def ordered_again(season: Season) -> None:
    """The same, after a decline and a top-up."""
    basket, attempt = await season.shop.basket("ordered again")
    assert attempt == 2
    await season.shop.order("ordered again", basket, 90, attempt)


async def everybody(season: Season) -> None:
    """Let all of them do what they do."""
    for customer in (
        *(archived, keyless, declined, persistent, stub, completed_stub),
        *(unnotified, damaged, late, half_moved, forged),
    ):
        sys.stdout.write(f"{customer.__name__}\n")
        await customer(season)
    await season.user("idle")
    await season.order(await season.user("ordered", 100), 5)
    await season.order(await season.user("ordered again", 80), 90)
    assert (await season.shop.deposit("ordered again", 20, "top-up")).status == 200
    await season.stack.pings["resend-orders"].stop()
    await season.stack.stop_part(KAFKA_SINK)
    await ordered(season)
    await ordered_again(season)


# --- what is kept ----------------------------------------------------------------------------------------------------


def state(database: MongoClient[Any]) -> list[str]:
    """Return all documents of the three databases, types included, one line each."""
    return [
        json_util.dumps(
            {"in": f"{wanted.service}.{wanted.name}", "document": document},
            json_options=json_util.CANONICAL_JSON_OPTIONS,
            ensure_ascii=False,
        )
        for wanted in COLLECTIONS
        for document in database[wanted.service][wanted.name].find(sort=[("_id", 1)])
    ]


def made(database: MongoClient[Any]) -> list[str]:
    """Return each collection as setup made it: its validator and its indexes."""
    lines = []
    for wanted in COLLECTIONS:
        collection = database[wanted.service][wanted.name]
        line = {
            "in": f"{wanted.service}.{wanted.name}",
            "options": collection.options(),
            "indexes": [{**index, "key": list(index["key"].items())} for index in collection.list_indexes()],
        }
        lines.append(json_util.dumps(line, json_options=json_util.CANONICAL_JSON_OPTIONS))
    return lines


def write(name: str, lines: Iterable[str]) -> None:
    """Write a file of this folder."""
    (FOLDER / name).write_text("".join(f"{line}\n" for line in lines))


async def record_deliveries(season: Season) -> list[str]:
    """Deliver all that is in the topics once more, and return what each consumer answered and emitted."""
    kept = []
    for topic, functions in (("payments", ("billing_handler",)), ("results", ("order_handler", "notify_handler"))):
        for function in functions:
            async with Sink() as sink, shop_serve(function, **LIMITS, **season_uri(season), K_SINK=sink.url) as served:
                for event in Recording(FOLDER / f"{topic}.ndjson"):
                    if function == "notify_handler" and b"unnotified" in (event.data or b""):
                        continue  # it would be notified now
                    status, text = await posted(f"http://127.0.0.1:{served.port}", event)
                    place = {name: event.attributes[name] for name in ("knativekafkapartition", "knativekafkaoffset")}
                    answer = {"to": function, "id": attribute(event, "id"), **place, "status": status, "text": text}
                    kept.append(json.dumps({**answer, "emitted": emitted(sink)}, ensure_ascii=False))
    return kept


def emitted(sink: Sink) -> list[Any]:
    """Return what a sink got, and forget it."""
    received, sink.received[:] = list(sink.received), []
    return [
        {
            "headers": {name.lower(): value for name, value in each.headers if name.lower() not in _OF_THE_CLIENT},
            "data_base64": base64.b64encode(each.body).decode(),
        }
        for each in received
    ]


_OF_THE_CLIENT = ("host", "content-length", "accept", "accept-encoding", "user-agent")


async def record_calls(season: Season) -> list[str]:
    """Send requests that change nothing, and return what each function answered."""
    kept = []
    functions: dict[str, list[tuple[str, str, dict[str, Any], dict[str, str]]]] = {}
    for function, *call in calls(season.database):
        functions.setdefault(function, []).append(call)  # type: ignore[arg-type]
    for function, requests in functions.items():
        async with (
            Sink() as sink,
            shop_serve(function, **LIMITS, **season_uri(season), K_SINK=sink.url) as served,
            aiohttp.ClientSession() as http,
        ):
            for method, path, fields, headers in requests:
                url = f"http://127.0.0.1:{served.port}{path}"
                async with http.request(method, url, json=fields, headers=headers) as answer:
                    line = {
                        "to": function,
                        "method": method,
                        "path": path,
                        "fields": fields,
                        "headers": headers,
                        "status": answer.status,
                        "replayed": answer.headers.get("Idempotent-Replayed"),
                        "body": await answer.text(),
                        "emitted": emitted(sink),
                    }
                    kept.append(json.dumps(line, ensure_ascii=False))
    return kept


def calls(database: MongoClient[Any]) -> Iterable[tuple[str, str, str, dict[str, Any], dict[str, str]]]:
    """Yield requests that change nothing: all reads, and everything that was done already once more."""
    for account in database.billing.users.find().sort("_id"):
        user = account["_id"]
        yield "get_user", "GET", "/GetUser", {"user": user}, {}
        yield "list_notify", "GET", "/List", {"user": user}, {}
        if "balance" in account:
            yield "create_user", "POST", "/CreateUser", {"user": user}, {}
        for deposit in [*account.get("deposits", ()), *database.billing.deposits.find({"user": user}).sort("_id")]:
            if isinstance(deposit["key"], str):
                for sum_ in (deposit["sum"], deposit["sum"] + 1):
                    key = {"Idempotency-Key": deposit["key"]}
                    yield "deposit_cash", "POST", "/DepositCash", {"user": user, "sum": sum_}, key
        last = database.orders.baskets.find_one({"user": user}, sort=[("number", -1)])
        if last is not None and last["status"] != "paid":
            yield "get_basket", "GET", "/GetBasket", {"user": user}, {}
    for basket in database.orders.baskets.find().sort("_id"):
        order = {"user": basket["user"], "basket": str(basket["_id"])}
        yield "get_order", "GET", "/GetOrder", order, {}
        for attempt in range(1, basket["attempt"] + 1):
            for sum_ in (basket["sum"], basket["sum"] + 1):
                yield "create_order", "POST", "/Order", {**order, "sum": sum_, "attempt": attempt}, {}
        beyond = basket["attempt"] + 2
        yield "create_order", "POST", "/Order", {**order, "sum": 1, "attempt": beyond}, {}
        if basket["status"] in ("paid", "ordered"):
            yield "create_order", "POST", "/Order", {**order, "sum": basket["sum"]}, {}
    yield "list_notify", "GET", "/List", {}, {}
    yield "list_notify", "GET", "/List", {"limit": 3}, {"Accept": "text/plain"}
    nobody = {"user": "nobody", "basket": "0123456789abcdef01234567"}
    yield "get_user", "GET", "/GetUser", {"user": "nobody"}, {}
    yield "get_order", "GET", "/GetOrder", nobody, {}
    yield "create_order", "POST", "/Order", {**nobody, "sum": 1}, {}
    yield "deposit_cash", "POST", "/DepositCash", {"user": "nobody", "sum": 1}, {"Idempotency-Key": "x"}


# --- all of it -------------------------------------------------------------------------------------------------------


def season_uri(season: Season) -> Mapping[str, str]:
    """Return where its MongoDB is."""
    return {"MONGODB_URI": season.stack.mongodb_uri}


def _time(stored: Mapping[str, Any]) -> str:
    return str(shop.messages.rfc3339(stored["ordered_at"]))  # type: ignore[attr-defined]


@asynccontextmanager
async def gate(count: int) -> AsyncIterator[str]:
    """Run a sink that takes events once so many wait to be taken, and yield its URL."""
    barrier = asyncio.Barrier(count)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].split("\r")[0]))
        await barrier.wait()
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


async def main() -> None:
    """Make all files of this folder anew."""
    assert Path(shop.__file__).parents[1] == Path.cwd(), "run it in a checkout of 67d5614: see README.md"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bug = folder / "bug"
        notify = {"FUNCTION_SOURCE": "tests/cli/refusing.py", "BUG": str(bug)}
        overrides = {"billing-handler": LIMITS, "deposit-cash": LIMITS, "notify-handler": notify}
        async with Stack(free(folder / "stack"), env_overrides=overrides) as stack:
            with MongoClient[Any](stack.mongodb_uri, tz_aware=True) as database:
                season = Season(stack, database, folder, bug)
                await everybody(season)
                for topic in TOPICS:
                    await season.record(topic, FOLDER / f"{topic}.ndjson")
                write("collections.ndjson", made(database))
                left = state(database)
                write("deliveries.ndjson", await record_deliveries(season))
                write("calls.ndjson", await record_calls(season))
                assert state(database) == left, "what was recorded must have changed nothing"
                write("state.ndjson", left)
                await season.shop.close()


if __name__ == "__main__":
    asyncio.run(main())
