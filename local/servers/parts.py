"""The processes of the stack, each kept running until it is stopped on purpose."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from local.servers.child import die_with_parent
from local.settings import ROOT

START_TIMEOUT_S: Final = 120  # every part is ready within 5 s on an idle machine with two cores
STOP_TIMEOUT_S: Final = 25  # functions finish what they have begun, for at most 22 s (shop.serve)
_LOG_TAIL: Final = 30  # lines shown when a start fails
_FIRST_DELAY_S: Final = 0.2
_LONGEST_DELAY_S: Final = 5.0


class PartFailedError(RuntimeError):
    """A part could not be installed, started or set up; the message says why, and ends with its log if there is one."""


class Part(Protocol):
    """A child process that can be started again."""

    process: asyncio.subprocess.Process | None

    async def start(self) -> None:
        """Start it and return when it is ready."""

    async def stop(self) -> None:
        """Stop it if it runs, and return when it is gone."""


class Server:
    """A part that is ready once `ready` says so; without that, once it has printed a line with the word ready."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log_file: Path,
        ready: Callable[[], Awaitable[bool]] | None = None,
        environment: Mapping[str, str] | None = None,
        config: tuple[Path, str] | None = None,
        *,
        runs_in: Path = ROOT,
        start_timeout_s: float = START_TIMEOUT_S,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        """Settle how to start it, and where; `config` is a file and what to write into it before."""
        self.process: asyncio.subprocess.Process | None = None
        self._command = command
        self._log_file = log_file
        self._ready = ready or self._has_said_so
        self._output_begins = 0
        self._environment = environment
        self._config = config
        self._runs_in = runs_in
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s

    async def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            PartFailedError: it ended, or was not ready in time.

        """
        if self._config is not None:
            file, text = self._config
            file.write_text(text)
        self._log_file.parent.mkdir(exist_ok=True)  # whoever removes old logs while it runs takes the folder along
        self._output_begins = self._log_file.stat().st_size if self._log_file.exists() else 0
        self.process = await spawn(self._command, self._log_file, self._environment, self._runs_in)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while not await self._ready():
                    if self.process.returncode is not None:
                        raise failed(f"it ended with status {self.process.returncode}", self._log_file)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.stop()
            raise failed(f"it was not ready within {self._start_timeout_s} s", self._log_file) from None

    async def stop(self) -> None:
        """Ask it to end (SIGTERM); SIGKILL it when that takes too long."""
        if self.process is None:
            return
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                await signalled(self.process, signal.SIGTERM)
        except TimeoutError:
            await signalled(self.process, signal.SIGKILL)

    async def _has_said_so(self) -> bool:
        with self._log_file.open("rb") as log:
            log.seek(self._output_begins)
            return any(b" ready" in line for line in log)


async def spawn(
    command: Sequence[str | Path],
    log_file: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> asyncio.subprocess.Process:
    """Start a process that ends when this one does, in a folder, with its output in a file."""
    with log_file.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


async def signalled(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal and wait until the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    await process.wait()


def failed(reason: str, log_file: Path) -> PartFailedError:
    """Say what happened, and what the log said last."""
    tail = log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
    return PartFailedError("\n".join([f"{reason}. {log_file} ends with:", *tail]))


class Keeper:
    """Keeps one part running: when it ends by itself it is started again, after 0.2 s at first, 5 s at most.

    Whatever keeps it from starting, it is tried again, and each failure is reported: a disk that is full, a process
    without descriptors and a folder that is gone come back, and nobody else would notice.
    """

    def __init__(
        self,
        name: str,
        part: Part,
        report: Callable[[str], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.part = part
        self.ready = asyncio.Event()
        self._report = report
        self._sleep = sleep
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the part, and keep it from then on.

        Raises:
            PartFailedError: it did not become ready; nothing is tried again.
            RuntimeError: it is running already.

        """
        if self._keeping is not None:
            raise RuntimeError(f"{self.name} is running already")
        begun = time.monotonic()
        try:
            await self.part.start()
        except (PartFailedError, OSError) as failure:
            raise PartFailedError(f"{self.name} did not start: {failure}") from failure
        self._is_ready(begun)
        self._keeping = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    async def stop(self) -> None:
        """Stop the part, on purpose."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
            self._keeping = None
        self.ready.clear()
        await self.part.stop()

    def retire(self) -> None:
        """Leave the part down when it ends from now on: the whole stack is about to be stopped."""
        if self._keeping is not None:
            self._keeping.cancel()

    async def kill(self) -> None:
        """Kill the process (SIGKILL), as a crash would. It is kept: wait for `ready` to see it again."""
        if self.part.process is not None:
            self.ready.clear()
            await signalled(self.part.process, signal.SIGKILL)

    def _is_ready(self, begun: float) -> None:
        self._tell(f"ready after {time.monotonic() - begun:.1f} s")
        self.ready.set()

    async def _keep(self) -> None:
        while True:
            if self.part.process is not None:
                status = await self.part.process.wait()
                self.ready.clear()
                self._tell(f"ended with status {status}, starts again in {_FIRST_DELAY_S:.1f} s")
            await self._start_again()

    async def _start_again(self) -> None:
        """Try until it is ready."""
        delay_s, last_said = _FIRST_DELAY_S, ""
        while True:
            await self._sleep(delay_s)
            begun = time.monotonic()
            try:
                await self.part.start()
            except Exception as failure:  # noqa: BLE001 - whatever it was, the part is down, and nobody else starts it
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
                said = _said(failure)
                shown = said if said != last_said else said.splitlines()[0]  # a log's tail once
                self._tell(f"IS DOWN, starts again in {delay_s:.1f} s: {shown}")
                last_said = said
                await self._stop_what_was_started()
            else:
                return self._is_ready(begun)

    async def _stop_what_was_started(self) -> None:
        """Stop a process that runs and never got ready: it would be in the way of the next one."""
        try:
            await self.part.stop()
        except Exception as failure:  # noqa: BLE001 - the next try meets it again, and says so
            self._tell(f"could not be stopped: {_said(failure)}")

    def _tell(self, what: str) -> None:
        """Report, and go on when that fails: the part matters more than who hears of it."""
        try:
            self._report(f"{self.name:<16} {what}")
        except Exception:  # noqa: BLE001 - standard output may be gone
            return


def _said(failure: Exception) -> str:
    """Return what is known of a failure; that of a library may have no text."""
    if isinstance(failure, PartFailedError):
        return str(failure)
    return f"{type(failure).__name__}: {failure}"  # never empty
