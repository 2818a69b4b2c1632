"""How a program that has processes of its own ends, and how it speaks until then.

It ends in order, whatever asks it to: Ctrl-C, SIGTERM, the end of its terminal (SIGHUP) or of its parent. Being asked
twice is being asked once, for `timeout`, systemd and make signal a whole group and then each other. Only a second
Ctrl-C, from somebody who will not wait, ends it at once; the kernel then ends what it has started.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from queue import Full, Queue
from threading import Thread
from typing import Any, Final, Never, TypeVar

T = TypeVar("T")

_PARENT: Final = os.getppid()  # at once: it may end while we start
_PARENT_INTERVAL_S: Final = 1.0
_MOST_UNREAD: Final = 1000  # lines that wait for a reader who has paused, before more are dropped
_LAST_WORDS_S: Final = 1.0  # for such a reader, at the end


class Stopped(Exception):
    """A program was asked to end before it was done; the text says by what."""

    def __init__(self, by: str, number: signal.Signals) -> None:
        super().__init__(by)
        self.status = 128 + number
        """The exit status that shells give to what a signal has ended."""
        self.at = time.monotonic()


def run(program: Coroutine[Any, Any, T], say: Callable[[str], None]) -> T:
    """Run a program as asyncio.run does, and cancel it, once, when it is asked to end.

    A program under nohup outlives its terminal and its parent.

    Raises:
        Stopped: it was asked to, and has ended in order.

    """
    try:
        return asyncio.run(_until_asked(program, say))
    finally:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # nothing is left to stop: Ctrl-C while we report needs no traceback


async def _until_asked(program: Coroutine[Any, Any, T], say: Callable[[str], None]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101
    asked: list[Stopped] = []
    typed: list[signal.Signals] = []

    def ask(by: str, number: signal.Signals, hint: str = "") -> None:
        if not asked:
            asked.append(Stopped(by, number))
            with contextlib.suppress(Stopped):
                say(f"{by}: stopping{hint}")
            task.cancel()

    def interrupt() -> None:
        if typed:
            _end_at_once(signal.SIGINT)
        typed.append(signal.SIGINT)
        ask("SIGINT", signal.SIGINT, "; a second Ctrl-C ends it at once")

    def orphaned(watch: asyncio.Task[None]) -> None:
        if not watch.cancelled():
            ask("its parent has ended", signal.SIGTERM, " (under nohup it would stay)")

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, ask, "SIGTERM", signal.SIGTERM)
    watch = None
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
        loop.add_signal_handler(signal.SIGHUP, ask, "SIGHUP", signal.SIGHUP)
        watch = asyncio.create_task(_parent_ended())
        watch.add_done_callback(orphaned)
    try:
        return await program
    except asyncio.CancelledError:
        if not asked:
            raise
        raise asked[0] from None
    finally:
        if watch is not None:
            watch.cancel()


async def _parent_ended() -> None:
    """Wait until the process that started this one is gone, and another has adopted it."""
    while os.getppid() == _PARENT:  # noqa: ASYNC110 - the kernel tells the end of a thread of the parent, not of the parent
        await asyncio.sleep(_PARENT_INTERVAL_S)


def _end_at_once(number: signal.Signals) -> Never:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    raise AssertionError


async def aside(work: Callable[[], T]) -> T:
    """Do what blocks in a thread for which nobody waits once this is cancelled: a download may hang for ever."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, failure: BaseException | None) -> None:
        if done.done():
            return
        if failure is not None:
            done.set_exception(failure)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def thread() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    Thread(target=thread, daemon=True).start()
    return await done


def say(line: str) -> None:
    """Print a line at once, for a program that has nothing to do but to print.

    Raises:
        Stopped: nobody reads it: standard output was closed (`| head`), or the terminal is gone.

    """
    try:
        print(line, flush=True)
    except OSError:
        # What was not written would be tried again, and complained about, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Stopped("nobody reads standard output", signal.SIGPIPE) from None


def end_early(stopped: Stopped, done: str) -> Never:
    """Say what was done until then, if anybody still reads, and exit as a signal does."""
    with contextlib.suppress(Stopped):
        say(f"Stopped: {stopped}. {done}")
    sys.exit(stopped.status)


class Voice:
    """Standard output for a program that has more to do than to print.

    Lines are written by a thread, so nothing waits for a reader who has paused (Ctrl-S, `| less`), and nothing fails
    when there is none any more (`| head`, a terminal that was closed).
    """

    def __init__(self) -> None:
        self._lines: Queue[str] = Queue(_MOST_UNREAD)
        Thread(target=self._speak, daemon=True, name="voice").start()

    def say(self, line: str) -> None:
        """Write a line soon, unless nobody has read for long."""
        with contextlib.suppress(Full):
            self._lines.put_nowait(line)

    def finish(self) -> None:
        """Wait until all is written, for a second at most."""
        until = time.monotonic() + _LAST_WORDS_S
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)

    def _speak(self) -> None:
        # Not through sys.stdout, whose lock Python needs at its end.
        output = sys.stdout.fileno() if sys.stdout is not None else os.open(os.devnull, os.O_WRONLY)
        while True:
            left = f"{self._lines.get()}\n".encode()
            with contextlib.suppress(OSError):  # nobody reads any more
                while left:
                    left = left[os.write(output, left) :]
            self._lines.task_done()
