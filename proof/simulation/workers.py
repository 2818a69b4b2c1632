"""Spread simulations over the cores: two processes on each, each with a mongod of its own."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from queue import Empty
from typing import TypeVar

import uvloop

from local.servers.child import die_with_parent
from proof.simulation.simulation import Simulation, simulation

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE_S = 300
"""For one task of a worker: a hunt for a mutant that is never caught takes half of it."""

_GOODBYE_S = 30
"""For a worker that is told to end, and stops its mongod."""


def in_parallel(work: Callable[[Simulation, T], Awaitable[R]], tasks: Iterable[T]) -> Iterator[R]:
    """Do all tasks, on all cores, and yield their results as they come.

    Raises RuntimeError when a worker ends before its work does.
    """
    context = multiprocessing.get_context("fork")
    todo: Queue[T | None] = context.Queue()
    done: Queue[R] = context.Queue()
    workers = [context.Process(target=_worker, args=(work, todo, done), daemon=True) for _ in range(_workers())]
    count = 0
    for count, task in enumerate(tasks, 1):  # noqa: B007 - the last number is the count
        todo.put(task)
    for worker in workers:
        todo.put(None)
        worker.start()
    try:
        for _ in range(count):
            yield _result(done, workers)
        for worker in workers:
            worker.join()  # they stop their mongods
    finally:
        todo.cancel_join_thread()  # what nobody takes any more would fill the pipe, and keep this process from ending
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(_GOODBYE_S)
            worker.kill()  # does nothing to one that has ended


def _workers() -> int:
    """Two for each core: a worker and its mongod wait for each other."""
    return 2 * (os.cpu_count() or 1)


def _result(done: "Queue[R]", workers: Sequence[BaseProcess]) -> R:
    for _ in range(_PATIENCE_S):
        try:
            return done.get(timeout=1)
        except Empty:
            if any(worker.exitcode for worker in workers):
                break
    raise RuntimeError("a worker ended, or takes too long; what it said is above")


def _worker(work: Callable[[Simulation, T], Awaitable[R]], todo: "Queue[T | None]", done: "Queue[R]") -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with simulation() as running:
            while (wanted := await asyncio.to_thread(todo.get)) is not None:
                done.put(await work(running, wanted))

    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers in order
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except asyncio.CancelledError:
        done.cancel_join_thread()  # nobody reads results any more: waiting until they are read would be for ever
