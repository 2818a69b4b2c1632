"""Run the real functions in simulated processes, each operation that leaves a process waiting for its turn.

Everything else is the real thing: the edges, the protocol, pymongo with its retries, mongod. Two seams are stood in
for: `shop.mongo.collection`, whose methods wait for their turn before they act, and the POST of `shop.emission.sink`,
which reaches the simulated Kafka.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

import aiohttp
import pymongo
import pymongo.common
from pymongo import ASCENDING, AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import AutoReconnect, NetworkTimeout, NotPrimaryError, PyMongoError
from starlette.requests import Request
from starlette.responses import Response

from proof.simulation.faults import FAIL_POINTS, RETRIED_BY_DRIVER, TO_EMISSION, TO_READ, TO_WRITE, Fault, Hit
from proof.simulation.observer import as_it_was
from shop import mongo
from shop.edge import handling
from shop.emission import sink
from shop.mongo import Document
from shop.process import settings
from shop.process.settings import ArrayLimits, Settings
from shop.store import readiness
from shop.store.readiness import Epoch

Function = Callable[[Request], Awaitable[Response]]

FIRST_EPOCH = Epoch(0, None)


class Outside(Protocol):
    """What the processes reach beside MongoDB, and what remembers what happened to them."""

    def store(self, headers: Mapping[str, str], data: bytes) -> None:
        """Store an event in its topic."""

    def postpone(self, what: str, act: Callable[[], object], *, to_topic: bool = False) -> None:
        """Let something happen at any later time: a command or event that was on its way when its sender gave up."""

    def note(self, line: str) -> None:
        """Add a line to the history."""


@dataclass(eq=False)
class Process:
    """One process of a function, with its own settings."""

    name: str
    function: Function
    revision: str
    """The application name of its connections."""

    client: AsyncMongoClient[Document]
    limits: ArrayLimits
    epoch: Epoch = FIRST_EPOCH


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

    def __init__(self, process: Process, request: Request, outside: Outside, what: str, done: Done) -> None:
        self.process = process
        self.what = what
        self.done = done
        self.outside = outside
        self.wants = _DEAD
        self.hits: list[Hit] = []
        self.response: Response | None = None
        self._request = request
        self._turn: asyncio.Future[Hit | None] | None = None
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run until the first operation, or to the end."""
        self._task = asyncio.create_task(self._run())
        await self._stopped.wait()

    async def _run(self) -> None:
        _current.set(self)
        try:
            self.response = await self.process.function(self._request)
        finally:
            self._stopped.set()

    async def proceed(self, hit: Hit | None) -> None:
        """Do the operation, failing as told, and run until the next one, or to the end."""
        assert self._turn is not None
        self._stopped.clear()
        if hit is not None:
            self.hits.append(hit)
        self._turn.set_result(hit)
        await self._stopped.wait()

    async def turn(self, operation: Operation) -> Hit | None:
        """Wait for the turn of an operation, and return what is to happen to it."""
        self.wants = operation
        self._turn = asyncio.get_running_loop().create_future()
        self._stopped.set()
        return await self._turn

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
        for _ in range(_MOST_CANCELLATIONS):
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)
            if self._task.done():
                return


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


class _Collection:
    """A collection whose operations wait for their turn, and may fail."""

    def __init__(self, real: AsyncCollection[Document]) -> None:
        self._real = real

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
        case Fault.COMMAND_LATE:
            # Without its session, which ends with the request.
            activity.outside.postpone(f"{what} of {activity.process.name}", partial(act, session=None))
            raise NetworkTimeout("simulated: still on its way")
        case Fault.MONGOD_FROM_BEFORE:
            assert hit is not None
            answer = await from_before()
            hit.mattered = True
            return answer
        case _:
            assert hit is not None
            return await _at_fail_point(hit, activity.process, command, act)


async def _from_before(real: AsyncCollection[Document], method: str, *args: Any, **kwargs: Any) -> Any:
    """Act as a primary that was replaced and does not know it yet: it answers only what no majority has to confirm.

    That is a read with read concern majority, and an update that changes nothing. A read in a causally consistent
    session asks for more than it has.
    """
    if method == "aggregate" or (kwargs.get("session") is not None and method == "find_one"):
        await _refuse()
    if real.read_concern.level == "linearizable":
        await _refuse()
    old, its_order = as_it_was(real), {"sort": [("_id", ASCENDING)]}
    before = await old.find({}, **its_order).to_list()
    answer = await getattr(old, method)(*args, **kwargs)
    if before == await old.find({}, **its_order).to_list():
        return answer
    await old.delete_many({})  # it will roll back
    if before:
        await old.insert_many(before)
    return await _refuse()


async def _refuse() -> Any:
    raise NotPrimaryError("simulated: no longer the primary")


async def _at_fail_point(hit: Hit, process: Process, command: str, act: Callable[[], Awaitable[Any]]) -> Any:
    """Act while a fail point of mongod is set for this process and command."""
    point, configure = FAIL_POINTS[hit.fault], process.client.admin.command
    data = {"failCommands": [command], "appName": process.revision, **point.data}
    before = await configure({"configureFailPoint": point.name, "mode": {"times": point.times}, "data": data})
    try:
        return await act()
    finally:
        after = await configure({"configureFailPoint": point.name, "mode": "off"})
        hit.mattered = hit.fault in RETRIED_BY_DRIVER and after["count"] > before["count"]


# --- Kafka -----------------------------------------------------------------------------------------------------------


async def _post(headers: Mapping[str, str], data: bytes) -> int:
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
            outside.postpone(f"emission of {activity.process.name}", act, to_topic=True)
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
            raise aiohttp.ServerDisconnectedError
    return 202


# --- the seams -------------------------------------------------------------------------------------------------------


_NO_DEADLINE_S = 600.0
"""Long enough never to end a run; the driver retries as it does under a deadline."""


def _settings() -> Settings:
    """Return the settings of the process in hand; between two of them, what all have in common."""
    activity = _current.get(None)
    limits = ArrayLimits() if activity is None else activity.process.limits
    return Settings(array_limits=limits, sink="http://sink.invalid")


async def _ready(_: str) -> Epoch:
    """Return the epoch that the process in hand began in; its indexes are there."""
    return _current.get().process.epoch


@contextmanager
def seams() -> Iterator[None]:
    """Stand in for what leads out of a process, and for what differs between processes."""
    real_collection = mongo.collection
    with ExitStack() as stack:
        for owner, name, stand_in in (
            (mongo, "client", lambda: _current.get().process.client),
            (mongo, "collection", lambda service, name: _Collection(real_collection(service, name))),
            (settings, "get", _settings),
            (readiness, "ready", _ready),
            (sink, "_post", _post),
            # Waiting for one's turn takes no simulated time, however long it takes on a busy machine.
            (handling, "asyncio", SimpleNamespace(timeout=lambda _: nullcontext())),
            (mongo, "deadline", lambda _=None: pymongo.timeout(_NO_DEADLINE_S)),
            (sink, "TIMEOUT_S", _NO_DEADLINE_S),
        ):
            stack.enter_context(mock.patch.object(owner, name, stand_in))
        stack.enter_context(_noted_log())
        yield


@contextmanager
def _noted_log() -> Iterator[None]:
    """Keep the log out of the output; what it calls unforeseen is noted in the history, with its trace."""
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
    "create_user": 1,
    "deposit_cash": 2,
    "get_user": 1,
    "get_basket": 1,
    "create_order": 2,
    "get_order": 1,
    "billing_handler": 2,
    "order_handler": 1,
    "notify_handler": 1,
    "list_notify": 1,
    "resend_orders": 2,
}
"""The functions, and how many processes run each: two where a rollout's two settings, or two ticks, may meet."""

Fleet = Mapping[str, list[Process]]


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
            yield {function: _processes(function, revisions[:count]) for function, count in FUNCTIONS.items()}
        finally:
            for client in revisions:
                await client.close()


def _processes(function: str, revisions: list[AsyncMongoClient[Document]]) -> list[Process]:
    work = getattr(importlib.import_module(f"functions.{function}.main"), function)
    return [
        Process(f"{function}-{n}", work, f"revision-{n}", client, ArrayLimits())
        for n, client in enumerate(revisions, 1)
    ]


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
