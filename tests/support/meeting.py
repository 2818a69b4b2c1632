"""Let something happen just before or after an operation on MongoDB: a race, or a failure.

Everything else is the real thing: the code runs as it is, on a client that stands in for this process's own.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shop.process import process
from shop.process.process import Process
from shop.setup.databases import connect, how_to_connect
from shop.store.client import client, open_client
from shop.store.readiness import Known, known


class Meeting:
    """An operation that something happens beside, and how often it was met."""

    def __init__(self, operation: str, act: Callable[[], Awaitable[object]], *, after: bool) -> None:
        self.operation = operation
        self.times = 0
        self._act = act
        self._after = after
        self._outside = process.current()

    async def around(self, operate: Callable[[], Awaitable[Any]]) -> Any:
        """Operate, and act before or after it; what is done meanwhile by the way meets nobody."""
        if self._after:
            result = await operate()
            await self._meet()
            return result
        await self._meet()
        return await operate()

    async def _meet(self) -> None:
        self.times += 1
        with process.running(self._outside):
            await self._act()


@contextmanager
def meeting(operation: str, act: Callable[[], Awaitable[object]], *, after: bool = False) -> Iterator[Meeting]:
    """Act beside each operation of this name as long as the block runs: `users.find_one`, or a command, `users.update`.

    What `act` raises the operation raises. A block in which there was no such operation has shown nothing, and fails.
    """
    met = Meeting(operation, act, after=after)
    given = {
        open_client: _Client(client(), met),
        how_to_connect: lambda uri: _Client(connect(uri), met),
        Known: known(),
    }
    with process.running(Process(process.current().settings, given)):
        yield met
    assert met.times, f"there was no {operation}"


class _Real:
    """Passes on whatever nobody is met at."""

    def __init__(self, real: Any, met: Meeting) -> None:
        self._real = real
        self._met = met

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Client(_Real):
    def get_database(self, *args: object, **options: object) -> "_Database":
        return _Database(self._real.get_database(*args, **options), self._met)


class _Database(_Real):
    def __getitem__(self, name: str) -> "_Collection":
        return _Collection(self._real[name], self._met)

    async def command(self, command: Any, *args: object, **options: object) -> Any:
        name = next(iter(command))
        if isinstance(command, str) or f"{command[name]}.{name}" != self._met.operation:
            return await self._real.command(command, *args, **options)
        return await self._met.around(lambda: self._real.command(command, *args, **options))


class _Collection(_Real):
    @property
    def database(self) -> _Database:
        return _Database(self._real.database, self._met)

    def with_options(self, **options: object) -> "_Collection":
        return _Collection(self._real.with_options(**options), self._met)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if f"{self._real.name}.{name}" != self._met.operation:
            return real
        if name == "find":  # it asks nobody before its documents are wanted
            return lambda *args, **options: _Cursor(real(*args, **options), self._met)
        return lambda *args, **options: self._met.around(lambda: real(*args, **options))


class _Cursor(_Real):
    async def to_list(self) -> Any:
        return await self._met.around(self._real.to_list)
