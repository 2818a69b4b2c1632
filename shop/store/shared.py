"""Let the requests of one process that come at the same time share their round trips to MongoDB.

What arrives while a batch is in flight goes with the next one: there is no timer, and whoever comes alone waits for
nobody. Statements share one `update` command (group commit), reads one linearizable `find`.

Promises:

- every statement stays atomic by itself, one after the other, also two of the same document in one batch;
- what is told of a statement is a fact: that this very one changed something, or what its document holds after it,
  perhaps later. Whoever does not find there what it looks for knows nothing yet, and asks again by itself;
- an error of one statement is nobody else's. A network error or a write-concern error makes all of its batch unknown;
- nobody's deadline or departure ends the batch of others, and nobody waits beyond a deadline of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    NetworkTimeout,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from shop.process import process
from shop.store import client
from shop.store.client import Document
from shop.store.pipeline import NOW, Pipeline, array

A = TypeVar("A")
R = TypeVar("R")

MOST = 100
"""How many share one command: beyond that nothing gets cheaper, and all wait for all."""


# --- lanes -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Place(Generic[A, R]):
    """Where one caller waits for what becomes of its item."""

    item: A
    result: "asyncio.Future[R]"
    spans: tuple[Any, ...] = ()
    """What the caller's part in it is a part of, where spans are wanted."""


class Lanes:
    """All lanes of a process, by name."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, Lane[Any, Any]] = {}
        self._spans = process.current().spans
        self._running: set[asyncio.Task[None]] = set()

    def lane(self, name: Hashable, act: Callable[[Sequence[A]], Awaitable[Sequence[R]]]) -> "Lane[A, R]":
        """Return the lane of this name, made at the first call."""
        if name not in self._lanes:
            self._lanes[name] = Lane(self, act)
        return self._lanes[name]

    def run(self, lane: "Lane[Any, Any]") -> None:
        """Run a lane's batches apart from who asked for the first one: its deadline is not theirs."""
        task = asyncio.get_running_loop().create_task(lane.run(process.current()), context=Context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def result(self, place: Place[Any, R]) -> R:
        """Wait for what becomes of an item."""
        if self._spans is not None:
            place.spans = self._spans.get()
        return await place.result

    def hold(self, places: Sequence[Place[Any, Any]]) -> None:
        """Let what is done now be a part of what all of them do."""
        if self._spans is not None:
            self._spans.set(tuple(dict.fromkeys(span for place in places for span in place.spans)))


class Lane(Generic[A, R]):
    """One batch in flight, and whoever waits for the next one."""

    def __init__(self, lanes: Lanes, act: Callable[[Sequence[A]], Awaitable[Sequence[R]]]) -> None:
        """Begin with nobody. `act` returns what became of each item, in their order."""
        self.in_flight: list[Place[A, R]] = []
        self._waiting: list[Place[A, R]] = []
        self._is_running = False
        self._lanes = lanes
        self._act = act

    async def share(self, item: A) -> R:
        """Act on an item together with whoever is there, and return what became of it. Raises what `act` raises."""
        place: Place[A, R] = Place(item, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        if not self._is_running:
            self._is_running = True
            self._lanes.run(self)
        async with asyncio.timeout(client.is_left()):
            return await self._lanes.result(place)

    async def run(self, its: process.Process) -> None:
        """Run one batch after the other until nobody waits."""
        with process.running(its):
            try:
                while self._waiting:
                    self.in_flight, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                    await self._do([place for place in self.in_flight if not place.result.done()])
            finally:
                self._is_running = False
                for place in (*self.in_flight, *self._waiting):
                    place.result.cancel()  # only what is left when the process ends in the middle of it

    async def _do(self, places: Sequence[Place[A, R]]) -> None:
        self._lanes.hold(places)
        try:
            async with client.shared_deadline():
                results = await self._act([place.item for place in places])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers'
            for place in places:
                if not place.result.done():
                    place.result.set_exception(error)
        else:
            for place, result in zip(places, results, strict=True):
                if not place.result.done():
                    place.result.set_result(result)


def _lanes() -> Lanes:
    return process.current().once(Lanes)


# --- statements ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What of a document is read after a statement: fields, of one array the entry in question, and how many it has."""

    fields: tuple[str, ...]
    array: str
    key: str
    value: object


LENGTH = "length"
"""Where a document that is shown in part says how many entries the array has."""

_NOW = "now"
"""Where one that a statement by itself returns says when that was: whatever bears that time was done by it."""


@dataclass(frozen=True)
class Statement:
    """One update of one document, by its key."""

    key: Mapping[str, Any]
    change: Mapping[str, Any] | Pipeline
    upsert: bool = False
    shown: Shown | None = None
    """All of the document when None."""

    only_unchanged: bool = False
    """Who asks needs the document only when this statement did not change it."""

    done_at: Callable[[Document], Any] = lambda _: None
    """When what the statement is to do was done, as a document after it says; None when it does not say."""


@dataclass(frozen=True)
class Seen:
    """What is known after a statement was executed."""

    document: Document | None
    """The document right after the statement, or later; None when there is none, or nobody needed it."""

    changed: bool = False
    """This very statement is known to have changed or made it."""

    first: bool = False
    """It seems that this very statement did it, and none before it: by the time, so for the log and nothing else."""

    made: Any = None
    """The `_id` of what this very statement made, when it is known."""


async def apply(of: AsyncCollection[Document], statement: Statement) -> Seen | None:
    """Execute a statement, and return what is known after it; None when it failed, alone, and is to be asked by itself.

    It may be executed twice, when its first reply was lost. Raises PyMongoError when it is unknown whether it was.
    """

    def act(batch: Sequence[Statement]) -> Awaitable[Sequence[Seen | None]]:
        return _apply(of, batch)

    return await _lanes().lane(("apply", of.database.name, of.name), act).share(statement)


async def _apply(of: AsyncCollection[Document], batch: Sequence[Statement]) -> list[Seen | None]:
    if len(batch) == 1 and not batch[0].only_unchanged:
        return [await _apply_one(of, batch[0])]
    reply = await _command(
        of,
        {
            "update": of.name,
            "updates": [{"q": each.key, "u": each.change, "upsert": each.upsert} for each in batch],
            "ordered": False,
            "writeConcern": client.WRITE_CONCERN.document,
        },
    )
    failed = {error["index"] for error in reply.get("writeErrors", ())}
    made = {upserted["index"]: upserted["_id"] for upserted in reply.get("upserted", ())}
    all_changed = reply["nModified"] + len(made) == len(batch)
    changed = [all_changed or place in made for place in range(len(batch))]
    to_read = [
        each for place, each in enumerate(batch) if place not in failed and not (each.only_unchanged and changed[place])
    ]
    read = await _read(of, to_read)
    seen = [
        None if place in failed else Seen(read(each), changed[place], changed[place], made.get(place))
        for place, each in enumerate(batch)
    ]
    return seen if all_changed else _with_first(batch, seen, reply["nModified"])


def _with_first(batch: Sequence[Statement], seen: list[Seen | None], changed: int) -> list[Seen | None]:
    """Tell which statements of a batch did something, when so many did: one command has one time, the latest.

    Of those that found the same thing done, the first one did it.
    """
    done: dict[tuple[Any, int], int] = {}
    for place, (statement, each) in enumerate(zip(batch, seen, strict=True)):
        if each is not None and each.document is not None and (at := statement.done_at(each.document)) is not None:
            done.setdefault((at, id(each.document)), place)
    latest = {done[key] for key in sorted(done, reverse=True)[:changed]}
    return [replace(each, first=True) if each and place in latest else each for place, each in enumerate(seen)]


async def _apply_one(of: AsyncCollection[Document], statement: Statement) -> Seen | None:
    command: Document = {
        "findAndModify": of.name,
        "query": statement.key,
        "update": statement.change,
        "upsert": statement.upsert,
        "new": True,
        "writeConcern": client.WRITE_CONCERN.document,
    }
    if statement.shown is not None:
        command["fields"] = {**_projection([statement.shown]), _NOW: NOW}
    try:
        reply = await _command(of, command)
    except DuplicateKeyError:
        return None
    document = reply["value"]
    now = None if document is None else document.pop(_NOW, None)
    return Seen(document, first=now is not None and statement.done_at(document) == now)


async def _read(
    of: AsyncCollection[Document], statements: Sequence[Statement]
) -> Callable[[Statement], Document | None]:
    """Read the documents of statements, durable ones: a read after a write with majority has what it wrote."""
    if not statements:
        return lambda _: None
    find = _find_all(of, [each.key for each in statements]) | {"readConcern": {"level": "majority"}}
    shown = [each.shown for each in statements if each.shown is not None]
    if len(shown) == len(statements):
        find["projection"] = _projection(shown)
    found = await _documents(of, find)
    return lambda statement: _with_key(found, statement.key)


def _projection(shown: Sequence[Shown]) -> Document:
    """Show what anybody of a batch asks for; all ask for parts of the same kind."""
    one = shown[0]
    is_asked_for = {"$in": [f"$$this.{one.key}", [each.value for each in shown]]}
    return {
        **dict.fromkeys(one.fields, 1),
        one.array: {"$filter": {"input": array(one.array), "cond": is_asked_for}},
        LENGTH: {"$size": array(one.array)},
    }


# --- reads -----------------------------------------------------------------------------------------------------------


async def look(at: AsyncCollection[Document], key: Mapping[str, Any]) -> Document | None:
    """Read a document as it is now, not as a primary that was replaced had it: the answer rests on it alone.

    One linearizable command reads the documents of all who ask at the same time. Linearizable means, for one document,
    that the primary still was one after it had read, and a command makes sure of that once all its documents are read.
    """

    def act(keys: Sequence[Mapping[str, Any]]) -> Awaitable[Sequence[Document | None]]:
        return _look(at, keys)

    return await _lanes().lane(("look", at.database.name, at.name), act).share(key)


async def _look(at: AsyncCollection[Document], keys: Sequence[Mapping[str, Any]]) -> list[Document | None]:
    found = await _documents(at, _find_all(at, keys) | {"readConcern": {"level": "linearizable"}})
    return [_with_key(found, key) for key in keys]


async def look_at_last(
    at: AsyncCollection[Document], group: str, value: str, by: str, *, durable: bool = False
) -> Document | None:
    """Read, of the documents whose field `group` has this value, the last one `by` another field, as it is now.

    A `durable` one may be from before: it costs half, and is enough where what it says can never change again.
    """
    level = "majority" if durable else "linearizable"

    def act(values: Sequence[str]) -> Awaitable[Sequence[Document | None]]:
        return _look_at_last(at, group, values, by, level)

    return await _lanes().lane(("look at last", at.database.name, at.name, group, by, level), act).share(value)


async def _look_at_last(
    at: AsyncCollection[Document], group: str, values: Sequence[str], by: str, level: str
) -> list[Document | None]:
    if len(values) == 1:
        command: Document = {"find": at.name, "filter": {group: values[0]}, "sort": {by: -1}, "limit": 1}
    else:
        # A walk through the index (group, by) that skips from each value to the next: it reads one entry of each.
        command = {
            "aggregate": at.name,
            "pipeline": [
                {"$match": {group: {"$in": sorted(set(values))}}},
                {"$sort": {group: -1, by: -1}},
                {"$group": {"_id": f"${group}", "last": {"$first": "$$ROOT"}}},
                {"$replaceRoot": {"newRoot": "$last"}},
            ],
            "cursor": {"batchSize": MOST + 1},
        }
    found = await _documents(at, command | {"readConcern": {"level": level}})
    return [_with_key(found, {group: value}) for value in values]


async def look_for(
    at: AsyncCollection[Document], wanted: Mapping[str, Any], most: int, *, within_s: float
) -> list[Document]:
    """Read the documents that match, at most so many, by one command: durable ones, perhaps from before.

    The filter names their `_id`. It is for who asks for many at once, and shares with nobody.
    """
    command: Document = {"find": at.name, "filter": wanted, "hint": {"_id": 1}, "batchSize": most, "singleBatch": True}
    async with client.shared_deadline(within_s):
        return await _documents(at, command | {"readConcern": {"level": "majority"}})


def _find_all(of: AsyncCollection[Document], keys: Sequence[Mapping[str, Any]]) -> Document:
    """Find the documents with these keys; the filter names each one's user, as a sharded collection wants it."""
    if len(keys) == 1:
        wanted = keys[0]
    elif all("_id" in key for key in keys):
        wanted = {name: {"$in": list(dict.fromkeys(key[name] for key in keys))} for name in keys[0]}
    else:
        wanted = {"$or": list(keys)}
    return {"find": of.name, "filter": wanted, "batchSize": len(keys) + 1, "singleBatch": True}


def _with_key(found: Sequence[Document], key: Mapping[str, Any]) -> Document | None:
    return next((each for each in found if all(each[name] == value for name, value in key.items())), None)


# --- commands --------------------------------------------------------------------------------------------------------


async def _documents(of: AsyncCollection[Document], command: Document) -> list[Document]:
    return cast(list[Document], (await _command(of, command))["cursor"]["firstBatch"])


async def _command(of: AsyncCollection[Document], command: Document) -> Document:
    """Send a command; twice more when the connection or the primary was gone.

    First it may meet a primary that no longer is one, then a connection to the new one that was closed meanwhile; with
    that one the driver drops all such connections.

    The driver's own retries make mongod remember each statement, a quarter of what it costs. They are for statements
    that must not be executed twice; ours may be. Raises WriteConcernError for what was executed and may be lost again.
    """
    for is_last in (False, False, True):
        try:
            reply = await process.current().once(_Sessions).send(of, command | {"maxTimeMS": client.max_time_ms()})
        except (NetworkTimeout, ServerSelectionTimeoutError):
            raise  # the time is up
        except AutoReconnect:
            if is_last:
                raise
        else:
            if error := reply.get("writeConcernError"):
                raise WriteConcernError(error.get("errmsg", ""), error.get("code"), error)
            return reply
    raise AssertionError("the last try returns or raises")


class _Sessions:
    """The driver's sessions that nobody uses just now: to make one for a command and end it is a twentieth of its CPU.

    They promise nothing, and stay good whatever becomes of a command: each command is by itself.
    """

    def __init__(self) -> None:
        self._unused: list[AsyncClientSession] = []

    async def send(self, of: AsyncCollection[Document], command: Document) -> Document:
        """Send a command."""
        session = self._unused.pop() if self._unused else client.client().start_session(causal_consistency=False)
        try:
            return await of.database.command(command, codec_options=of.codec_options, session=session)
        finally:
            self._unused.append(session)

    async def close(self) -> None:
        """End them."""
        while self._unused:
            await self._unused.pop().end_session()
