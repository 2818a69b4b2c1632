"""What one process has: its settings, and one of each thing that it opens.

Promise: all of it hangs on one object in one place. So a test, the simulation or a command hands in another, with other
settings or with stand-ins, and nothing is patched.
"""

import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from shop.process.settings import Settings, Traces, WrongSettings

if TYPE_CHECKING:
    from shop.process.tracing import Tracer

T = TypeVar("T")


class Process:
    """One process: what it was told, and what it opened."""

    def __init__(
        self,
        settings: Settings,
        given: Mapping[Callable[[], Any], Any] | None = None,
        *,
        patience: float = 1.0,
        random_bits: Callable[[int], int] = random.getrandbits,
        tracer: "Tracer | None" = None,
    ) -> None:
        """Begin with settings.

        What is `given` for a call stands in for what the call would open; whoever gave it closes it. `patience` is how
        many times as long everything may take as the code says: more than 1 where waiting takes no simulated time, less
        where a test waits for a time-out. `random_bits` makes the ids of traces. A `tracer` is handed in, or made where
        the settings name an endpoint for spans.
        """
        self.settings = settings
        self.random_bits = random_bits
        self.tracer = tracer or (_tracer(settings.traces, random_bits) if settings.traces else None)
        self.spans: ContextVar[tuple[Any, ...]] | None = None if self.tracer is None else self.tracer.current
        self._patience = patience
        self._given = dict(given or {})
        self._opened: dict[Callable[[], Any], Any] = {}

    def once(self, call: Callable[[], T]) -> T:
        """Return what a call opens, called once in this process: a client, a pool of connections, something learned."""
        held = self._given if call in self._given else self._opened
        if call not in held:
            held[call] = call()
        opened: T = held[call]
        return opened

    def limit(self, seconds: float) -> float:
        """Return how long may be taken here by what may take so long."""
        return seconds * self._patience

    async def close(self) -> None:
        """Close what was opened, the last first; the next `once` opens it again."""
        while self._opened:
            _, opened = self._opened.popitem()
            if hasattr(opened, "close"):
                await opened.close()


def _tracer(traces: Traces, random_bits: Callable[[int], int]) -> "Tracer":
    from shop.process.tracing import Tracer  # only where there is an endpoint

    return Tracer(traces, random_bits)


_running: ContextVar[Process | None] = ContextVar("process", default=None)
_own: Process | None = None


def current() -> Process:
    """Return the process that runs this code. Its environment is read at the first call, and never again.

    Raises WrongSettings when the environment cannot be right.
    """
    global _own  # the one place that holds a process
    if (handed := _running.get()) is not None:
        return handed
    if _own is None:
        _own = Process(Settings.read(os.environ))
    return _own


def use(process: Process) -> None:
    """Let another process run all code from now on, but what is inside `running`."""
    global _own
    _own = process


@contextmanager
def running(process: Process) -> Iterator[Process]:
    """Let another process run the code inside, and the tasks that it starts."""
    before = _running.set(process)
    try:
        yield process
    finally:
        _running.reset(before)


def start() -> Process:
    """Return this process, or end it when its environment cannot be right. To be called before it takes a message."""
    try:
        return current()
    except WrongSettings as error:
        sys.exit(f"this process cannot start with these settings:\n{error}")
