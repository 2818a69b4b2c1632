"""Run the real functions in simulated processes, each operation that leaves a process waiting for its turn.

Everything else is the real thing: the edges, the protocol, pymongo with its retries, mongod. Each process is handed two
stand-ins: a client of MongoDB whose operations wait for their turn before they act, and a sink that is the simulated
Kafka.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol, TypeVar
from unittest import mock

import pymongo.common
from bson.codec_options import CodecOptions
from pymongo import ASCENDING, AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect, NetworkTimeout, NotPrimaryError, PyMongoError
from starlette.requests import Request
from starlette.responses import Response

from proof.simulation.faults import FAIL_POINTS, RETRIED_BY_DRIVER, TO_EMISSION, TO_READ, TO_WRITE, Fault, Hit
from proof.simulation.observer import as_it_was
from shop.emission.sink import ClosedError, Sink
from shop.process import process
from shop.process.process import Process, running
from shop.process.settings import ArrayLimits, Settings
from shop.state import SERVICES
from shop.store.client import Document, open_client
from shop.store.readiness import Epoch, Known
from shop.store.shared import Lane, Lanes, Place
from tests.support import functions

Function = Callable[[Request], Awaitable[Response]]

R = TypeVar("R")

FIRST_EPOCH = Epoch(0, None)


class Turns:
    """Who runs now. The scheduler goes on when nobody does; then it takes all who stopped, in the order they did."""

    def __init__(self) -> None:
        self._running = 0
        self._stopped: list[Activity] = []
        self._idle = asyncio.Event()

    def runs(self) -> None:
        """Count one more."""
        self._running += 1
        self._idle.clear()

    def waits(self) -> None:
        """Count one less: it waits for what another one does."""
        self._running -= 1
        if self._running == 0:
            self._idle.set()

    def stops(self, activity: "Activity") -> None:
        """Count one less: it waits for its turn, or has ended."""
        self._stopped.append(activity)
        self.waits()

    async def stopped(self) -> "list[Activity]":
        """Wait until nobody runs, and return who stopped meanwhile."""
        while self._running:  # what the last one did may have woken another
            await self._idle.wait()
        stopped, self._stopped = self._stopped, []
        return stopped


class Outside(Protocol):
    """What the processes reach beside MongoDB, and what remembers what happened to them."""

    @property
    def turns(self) -> Turns:
        """Return who runs now."""

    def store(self, headers: Mapping[str, str], data: bytes) -> None:
        """Store an event in its topic."""

    def postpone(self, what: str, act: Callable[[], object], *, to_topic: bool = False) -> None:
        """Let something happen at any later time: a command or event that was on its way when its sender gave up."""

    def note(self, line: str) -> None:
        """Add a line to the history."""


_PATIENCE = 120.0
"""Waiting for one's turn takes no simulated time, however long it takes on a busy machine: deadlines are long enough
never to end a run, and the driver retries as it does under a deadline."""


class Instance:
    """One process of a function, with its own settings; the client is one that it may share."""

    def __init__(self, name: str, function: Function, revision: str, client: AsyncMongoClient[Document]) -> None:
        """Begin in the first epoch; the revision is the application name of the client's connections."""
        self.name = name
        self.function = function
        self.revision = revision
        self.client = client
        self.begin(ArrayLimits(), FIRST_EPOCH)

    def begin(self, limits: ArrayLimits, epoch: Epoch) -> None:
        """Begin anew, with these limits, in this epoch; the indexes are there."""
        self.limits, self._epoch = limits, epoch
        known = Known(indexed=set(SERVICES), epochs=dict.fromkeys(SERVICES, epoch))
        self.process = Process(
            Settings(array_limits=limits, sink="http://sink.invalid"),
            {open_client: _Client(self.client), Known: known, Sink: _Sink(), Lanes: _Lanes(self)},
            patience=_PATIENCE,
            random_bits=Random(f"traces of {self.name}").getrandbits,
        )

    def begin_again(self) -> None:
        """Begin after a crash, with the same settings: it knows nothing of what it did."""
        self.begin(self.limits, self._epoch)


@dataclass(frozen=True)
class Operation:
    """What an activity waits to do outside of its process."""

    what: str
    possible: tuple[Fault, ...]


_MOST_CANCELLATIONS = 10
"""Of one activity: before Python 3.12 `asyncio.wait_for`, which pymongo uses, may swallow one."""

_DEAD = Operation("nothing any more", ())

Done = Callable[[Response | None], Awaitable[None]]
"""Takes the answer to a request; None when the process crashed over it."""


class Activity:
    """One request in the hands of a process: it runs until it wants out of it, and there waits for its turn."""

    def __init__(self, instance: Instance, request: Request, outside: Outside, what: str, done: Done) -> None:
        self.instance = instance
        self.what = what
        self.done = done
        self.outside = outside
        self.wants = _DEAD
        self.hits: list[Hit] = []
        self.response: Response | None = None
        self.ended = False
        self.is_dead = False
        self._request = request
        self._turn: asyncio.Future[Hit | None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run until the first operation, or to the end."""
        self.outside.turns.runs()
        self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def _run(self) -> None:
        _current.set(self)
        try:
            with running(self.instance.process):
                await self._work()
        finally:
            self.ended = True
            if not self.is_dead:
                self.outside.turns.stops(self)

    async def _work(self) -> None:
        self.response = await self.instance.function(self._request)

    def proceed(self, hit: Hit | None) -> None:
        """Do the operation, failing as told, and run until the next one, or to the end."""
        assert self._turn is not None
        self.outside.turns.runs()
        if hit is not None:
            self.is_hit(hit)
        self._turn.set_result(hit)

    def is_hit(self, hit: Hit) -> None:
        """Remember a fault of an operation."""
        self.hits.append(hit)

    async def turn(self, operation: Operation) -> Hit | None:
        """Wait for the turn of an operation, and return what is to happen to it."""
        self.wants = operation
        self._turn = asyncio.get_running_loop().create_future()
        self.outside.turns.stops(self)
        return await self._turn

    def runs_again(self, _: object) -> None:
        """Go on: what another one did is there."""
        if not self.is_dead:
            self.outside.turns.runs()

    def stands(self) -> str:
        """Return where it stands, from the outside in: for one that never goes on."""
        assert self._task is not None
        places, coroutine = [], self._task.get_coro()
        while coroutine is not None:
            if (frame := getattr(coroutine, "cr_frame", None)) is not None:
                places.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
            coroutine = getattr(coroutine, "cr_await", None)
        return f"{self.what}, {self.wants.what}, hits {[hit.fault for hit in self.hits]}, at {' '.join(places)}"

    async def crash(self) -> None:
        """End it where it stands."""
        assert self._task is not None
        self.is_dead = True
        for _ in range(_MOST_CANCELLATIONS):
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)
            if self._task.done():
                return


class Batches(Activity):
    """The batches of one lane of a process, as long as anybody waits for one: they do what several requests share."""

    def __init__(self, lanes: "_Lanes", lane: Lane[Any, Any], outside: Outside) -> None:
        async def nobody_asked(_: Response | None) -> None:
            pass

        super().__init__(lanes.instance, request("POST", {}, b""), outside, "a batch", nobody_asked)
        self._lanes = lanes
        self._lane = lane

    async def _work(self) -> None:
        await self._lane.run(process.current())

    def is_hit(self, hit: Hit) -> None:
        """It is a fault to all who share the batch."""
        super().is_hit(hit)
        for place in self._lane.in_flight:
            if (activity := self._lanes.followers.get(place)) is not None:
                activity.is_hit(hit)

    @property
    def size(self) -> int:
        """How many share the batch in flight."""
        return len(self._lane.in_flight)


class _Lanes(Lanes):
    """The lanes of a process: a batch is an activity of its own, which waits for its turn as others do."""

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self.instance = instance
        self.followers: dict[Place[Any, Any], Activity] = {}
        """Who waits for what becomes of a batch."""

    def run(self, lane: Lane[Any, Any]) -> None:
        Batches(self, lane, _current.get().outside).start()

    async def result(self, place: Place[Any, R]) -> R:
        activity = _current.get()
        self.followers[place] = activity
        place.result.add_done_callback(activity.runs_again)
        activity.outside.turns.waits()
        try:
            return await place.result
        finally:
            del self.followers[place]


def following(instance: Instance) -> list[Activity]:
    """Return the requests of a process that wait for what becomes of a batch."""
    lanes = instance.process.once(Lanes)
    assert isinstance(lanes, _Lanes)
    return list(lanes.followers.values())


_current: ContextVar[Activity] = ContextVar("activity")


# --- MongoDB ---------------------------------------------------------------------------------------------------------

_COMMANDS = {
    "find_one": "find",
    "find_one_and_update": "findAndModify",
    "update_one": "update",
    "bulk_write": "update",
    "aggregate": "aggregate",
    "insert_one": "insert",
}

_READS = {"find", "aggregate"}


@dataclass(frozen=True)
class _Client:
    """A client whose databases have collections of ours."""

    real: AsyncMongoClient[Document]

    def get_database(self, name: str, **options: Any) -> "_Database":
        return _Database(self.real.get_database(name, **options))

    def start_session(self, **options: Any) -> AsyncClientSession:
        return self.real.start_session(**options)


@dataclass(frozen=True)
class _Database:
    real: AsyncDatabase[Document]

    @property
    def name(self) -> str:
        return self.real.name

    def __getitem__(self, name: str) -> "_Collection":
        return _Collection(self.real[name])

    async def command(self, command: Document, **options: Any) -> Document:
        """Send a command of ours as it is: its name comes first, and names a collection."""
        name = next(iter(command))
        collection = self.real[command[name]]
        act = partial(self.real.command, command, **options)
        is_linearizable = command.get("readConcern", {}).get("level") == "linearizable"
        from_before = _refuse if is_linearizable else partial(_command_from_before, collection, command, **options)
        answer: Document = await _operate(name, collection.name, act, from_before)
        return answer


class _Collection:
    """A collection whose operations wait for their turn, and may fail."""

    def __init__(self, real: AsyncCollection[Document]) -> None:
        self._real = real

    @property
    def name(self) -> str:
        return self._real.name

    @property
    def database(self) -> _Database:
        return _Database(self._real.database)

    @property
    def codec_options(self) -> CodecOptions[Document]:
        return self._real.codec_options

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        def operate(*args: object, **kwargs: object) -> Awaitable[Any]:
            act = partial(getattr(self._real, method), *args, **kwargs)
            from_before = partial(_from_before, self._real, method, *args, **kwargs)
            return _operate(_COMMANDS[method], self._real.name, act, from_before)

        return operate

    def with_options(self, **options: Any) -> "_Collection":
        return _Collection(self._real.with_options(**options))

    def find(self, *args: object, **kwargs: Any) -> "_Cursor":
        return _Cursor(self._real.name, self._real.find(*args, **kwargs))


@dataclass(frozen=True)
class _Cursor:
    """A cursor that asks mongod when it is its turn."""

    collection: str
    real: AsyncCursor[Document]

    async def to_list(self) -> list[Document]:
        found: list[Document] = await _operate("find", self.collection, self.real.to_list, _refuse)
        return found


async def _operate(
    command: str, collection: str, act: Callable[..., Awaitable[Any]], from_before: Callable[[], Awaitable[Any]]
) -> Any:
    activity, what = _current.get(), f"{command} {collection}"
    hit = await activity.turn(Operation(what, TO_READ if command in _READS else TO_WRITE))
    match hit.fault if hit else None:
        case None:
            return await act()
        case Fault.CRASH_AFTER:
            with suppress(PyMongoError):
                await act()
            return await activity.turn(_DEAD)
        case Fault.COMMAND_NOT_SENT:
            raise AutoReconnect("simulated: not sent")
        case Fault.COMMAND_REPLY_LOST:
            with suppress(PyMongoError):
                await act()
            raise NetworkTimeout("simulated: the reply is lost")
        case Fault.COMMAND_CLOSED:
            with suppress(PyMongoError):
                await act()
            raise AutoReconnect("simulated: applied, and the connection closed")
        case Fault.COMMAND_LATE:
            # Without its session, which ends with the request.
            activity.outside.postpone(f"{what} of {activity.instance.name}", partial(act, session=None))
            raise NetworkTimeout("simulated: still on its way")
        case Fault.MONGOD_FROM_BEFORE:
            assert hit is not None
            answer = await from_before()
            hit.mattered = True
            return answer
        case _:
            assert hit is not None
            return await _at_fail_point(hit, activity.instance, command, act)


async def _from_before(real: AsyncCollection[Document], method: str, *args: Any, **kwargs: Any) -> Any:
    """Act as a primary that was replaced and does not know it yet: it answers only what no majority has to confirm.

    That is a read with read concern majority, and an update that changes nothing. A read in a causally consistent
    session asks for more than it has.
    """
    if method == "aggregate" or (kwargs.get("session") is not None and method == "find_one"):
        await _refuse()
    if real.read_concern.level == "linearizable":
        await _refuse()
    return await _unless_it_changes(old := as_it_was(real), partial(getattr(old, method), *args, **kwargs))


async def _command_from_before(real: AsyncCollection[Document], command: Document, **options: Any) -> Any:
    old = as_it_was(real)
    return await _unless_it_changes(old, partial(old.database.command, command, **options))


async def _unless_it_changes(old: AsyncCollection[Document], act: Callable[[], Awaitable[Any]]) -> Any:
    its_order: dict[str, Any] = {"sort": [("_id", ASCENDING)]}
    before = await old.find({}, **its_order).to_list()
    answer = await act()
    if before == await old.find({}, **its_order).to_list():
        return answer
    await old.delete_many({})  # it will roll back
    if before:
        await old.insert_many(before)
    return await _refuse()


async def _refuse() -> Any:
    raise NotPrimaryError("simulated: no longer the primary")


async def _at_fail_point(hit: Hit, instance: Instance, command: str, act: Callable[[], Awaitable[Any]]) -> Any:
    """Act while a fail point of mongod is set for this process and command."""
    point, configure = FAIL_POINTS[hit.fault], instance.client.admin.command
    data = {"failCommands": [command], "appName": instance.revision, **point.data}
    before = await configure({"configureFailPoint": point.name, "mode": {"times": point.times}, "data": data})
    try:
        return await act()
    finally:
        after = await configure({"configureFailPoint": point.name, "mode": "off"})
        hit.mattered = hit.fault in RETRIED_BY_DRIVER and after["count"] > before["count"]


# --- Kafka -----------------------------------------------------------------------------------------------------------


class _Sink:
    """The sink of every process: the simulated Kafka."""

    async def post(self, headers: Mapping[str, str], data: bytes, *, fresh: bool = False) -> int:  # noqa: ARG002 - all are
        """Stand in for the POST to K_SINK."""
        activity = _current.get()
        outside = activity.outside
        hit = await activity.turn(Operation(f"emit {headers['ce-type'].rpartition('.')[2]}", TO_EMISSION))
        match hit.fault if hit else None:
            case Fault.SINK_REFUSES:
                return 503
            case Fault.SINK_TIMES_OUT:
                raise TimeoutError
            case Fault.SINK_STORES_LATE:
                act = partial(outside.store, headers, data)
                outside.postpone(f"emission of {activity.instance.name}", act, to_topic=True)
                raise TimeoutError
        outside.store(headers, data)
        match hit.fault if hit else None:
            case Fault.CRASH_AFTER:
                await activity.turn(_DEAD)
            case Fault.SINK_STORES_SILENTLY:
                raise TimeoutError
            case Fault.SINK_CLOSES:
                assert hit is not None
                hit.mattered = True
                raise ClosedError
        return 202


# --- the log ----------------------------------------------------------------------------------------------------------


@contextmanager
def noted_log() -> Iterator[None]:
    """Keep the log out of the output; an unhandled exception is noted in the history, with its trace."""
    logs, handled = [logging.getLogger(name) for name in ("shop", "functions")], logging.getLogger("shop.handled")
    handled.disabled, note = True, _Note(logging.ERROR)
    for log in logs:
        log.propagate = False
        log.addHandler(note)
    try:
        yield
    finally:
        handled.disabled = False
        for log in logs:
            log.propagate = True
            log.removeHandler(note)


class _Note(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _current.get().outside.note(self.format(record))


# --- the processes ---------------------------------------------------------------------------------------------------

FUNCTIONS: Mapping[str, int] = {
    name: 2 if function.emits or "ARRAY_LIMIT" in function.environment else 1
    for name, function in functions.FUNCTIONS.items()
}
"""How many processes run each function: two where a rollout's two settings, or two ticks, may meet."""

Fleet = Mapping[str, list[Instance]]


@asynccontextmanager
async def fleet(uri: str) -> AsyncIterator[Fleet]:
    """Run the processes of all functions on a MongoDB, each in one of two revisions.

    A revision's processes share their connections: with one operation in flight at a time nobody can tell, and twenty
    clients would spend more time on watching the server than on using it.
    """
    # After a network error the driver looks at the server again before it retries, at most twice a second: too rarely
    # for a server that closes connections all the time. A monitor that streams would wait for the server to tell that
    # it is back, and this one was never away.
    with mock.patch.object(pymongo.common, "MIN_HEARTBEAT_INTERVAL", 0.01):
        revisions = [
            AsyncMongoClient[Document](uri, appname=f"revision-{n}", tz_aware=True, serverMonitoringMode="poll")
            for n in range(1, max(FUNCTIONS.values()) + 1)
        ]
        try:
            yield {function: _instances(function, revisions[:count]) for function, count in FUNCTIONS.items()}
        finally:
            for client in revisions:
                await client.close()


def _instances(function: str, revisions: list[AsyncMongoClient[Document]]) -> list[Instance]:
    work = getattr(importlib.import_module(f"functions.{function}.main"), function)
    return [Instance(f"{function}-{n}", work, f"revision-{n}", client) for n, client in enumerate(revisions, 1)]


def request(method: str, headers: Mapping[str, str], body: bytes) -> Request:
    """Make a request as an ASGI server would."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    return Request(scope, receive)
