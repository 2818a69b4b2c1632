"""A part is started again when it ends by itself, stays down when it was stopped, and never outlives its parent."""

import asyncio
import contextlib
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.servers.parts import Keeper, PartFailedError, Server
from local.servers.probe import answers
from tests.support.stack_fixtures import eventually

SAYS_READY = "import time; print('here, ready', flush=True); time.sleep(60)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SAYS_READY}"


def python(program: str, log_file: Path, **timeouts_s: float) -> Server:
    """Return a part that runs a program of ours, and is ready when that says so."""
    return Server([sys.executable, "-c", program], log_file, **timeouts_s)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_part_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """It is reported, takes a moment, and has a new process after it."""
    said: list[str] = []
    keeper = Keeper("part", python(SAYS_READY, tmp_path / "log"), said.append)
    await keeper.start()
    try:
        assert keeper.part.process
        first = keeper.part.process.pid
        await keeper.kill()
        assert not keeper.ready.is_set()
        await asyncio.wait_for(keeper.ready.wait(), 10)
        assert keeper.part.process.pid != first
    finally:
        await keeper.stop()
    assert [" ".join(line.split()[:5]) for line in said[1:2]] == ["part ended with status -9,"]
    assert "ready after" in said[0]
    assert "ready after" in said[2]


async def test_a_part_that_fails_to_come_back_is_tried_less_and_less_often() -> None:
    """Waits double from 0.2 s to 5 s at most, and begin again once it has been ready."""
    slept: list[float] = []

    async def record(delay: float) -> None:
        slept.append(delay)
        await asyncio.sleep(0)

    class Part:
        process: asyncio.subprocess.Process | None = None
        starts = 0

        async def start(self) -> None:
            self.starts += 1
            if 1 < self.starts < 8:
                raise PartFailedError("not yet")
            self.process = await asyncio.create_subprocess_exec(*(["true"] if self.starts < 10 else ["sleep", "60"]))

        async def stop(self) -> None:
            assert self.process
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    part = Part()
    keeper = Keeper("part", part, lambda _: None, sleep=record)
    await keeper.start()
    try:

        async def tenth() -> bool:
            return part.starts >= 10

        await eventually(tenth)
    finally:
        await keeper.stop()
    assert slept == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.2, 0.2]


class Obstacle:
    """What keeps a part from starting again, for a while."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config"
        self.logs = folder / "logs"
        self.logs.mkdir()

    @contextlib.contextmanager
    def disk_full(self) -> Iterator[None]:
        """Have each write of the configuration fail with ENOSPC."""
        self.config.unlink()
        self.config.symlink_to("/dev/full")
        yield
        self.config.unlink()

    @contextlib.contextmanager
    def no_descriptors(self) -> Iterator[None]:
        """Have each opening of a file, pipe or socket fail with EMFILE."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    @contextlib.contextmanager
    def folder_gone(self) -> Iterator[None]:
        """Have neither the configuration nor the log a folder to be in."""
        elsewhere = self.logs.parent.with_name("elsewhere")
        self.logs.parent.rename(elsewhere)
        yield
        elsewhere.rename(self.logs.parent)


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        (Obstacle.disk_full, "No space left"),
        (Obstacle.no_descriptors, "Too many open files"),
        (Obstacle.folder_gone, "No such file"),
    ],
)
async def test_a_part_whose_restart_meets_an_os_error_is_tried_again_until_it_runs(
    obstacle: Callable[[Obstacle], contextlib.AbstractContextManager[None]], said: str, tmp_path: Path
) -> None:
    """Fault 28: it was given up for ever in silence, so that orders were accepted and never paid."""
    reports: list[str] = []
    folder = tmp_path / "stack"
    folder.mkdir()
    in_the_way = Obstacle(folder)
    config = (in_the_way.config, "settings")
    part = Server([sys.executable, "-c", SAYS_READY], in_the_way.logs / "log", config=config)
    keeper = Keeper("part", part, reports.append)
    await keeper.start()
    try:
        with obstacle(in_the_way):
            await keeper.kill()

            async def twice() -> bool:
                return sum("IS DOWN" in line for line in reports) >= 2

            await eventually(twice)
            assert not keeper.ready.is_set()
        await asyncio.wait_for(keeper.ready.wait(), 20)
        assert config[0].read_text() == "settings"
    finally:
        await keeper.stop()
    assert all(said in line for line in reports if "IS DOWN" in line)
    assert "ready after" in reports[-1]


async def test_logs_that_are_removed_while_a_part_runs_do_not_keep_it_down(tmp_path: Path) -> None:
    """Whoever needs the room removes the folder of logs; it is made again."""
    (tmp_path / "logs").mkdir()
    keeper = Keeper("part", python(SAYS_READY, tmp_path / "logs" / "log"), lambda _: None)
    await keeper.start()
    try:
        shutil.rmtree(tmp_path / "logs")
        await keeper.kill()
        await asyncio.wait_for(keeper.ready.wait(), 20)
    finally:
        await keeper.stop()


async def test_a_first_start_that_meets_an_os_error_says_which_part_it_was(tmp_path: Path) -> None:
    """A traceback would say where in our code; nothing is left to try again."""
    keeper = Keeper("part", python(SAYS_READY, tmp_path / "gone" / "logs" / "log"), lambda _: None)
    with pytest.raises(PartFailedError, match=r"part did not start: .*No such file"):
        await keeper.start()


async def test_a_process_that_runs_and_never_got_ready_is_stopped_before_the_next(tmp_path: Path) -> None:
    """It would have the port, or the folder, that the next one needs."""
    started: list[asyncio.subprocess.Process] = []
    part = python(SAYS_READY, tmp_path / "log")

    async def fails_second() -> bool:
        assert part.process
        if part.process not in started:
            started.append(part.process)
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        return True

    part._ready = fails_second
    reports: list[str] = []
    keeper = Keeper("part", part, reports.append)
    await keeper.start()
    try:
        await keeper.kill()
        await asyncio.wait_for(keeper.ready.wait(), 20)
        assert [process.returncode for process in started] == [-signal.SIGKILL, -signal.SIGTERM, None]
    finally:
        await keeper.stop()
    assert "RuntimeError: can't start new thread" in reports[2]


async def test_a_part_is_kept_when_nobody_can_be_told(tmp_path: Path) -> None:
    """Fault 27: a report on a standard output that is gone ended the keeping."""

    def gone(_: str) -> None:
        raise BrokenPipeError

    keeper = Keeper("part", python(SAYS_READY, tmp_path / "log"), gone)
    await keeper.start()
    try:
        await keeper.kill()
        await asyncio.wait_for(keeper.ready.wait(), 20)
    finally:
        await keeper.stop()


async def test_a_part_that_retires_is_not_started_again(tmp_path: Path) -> None:
    """When systemd stops a stack, every process gets SIGTERM; what ends before its turn stays down."""
    keeper = Keeper("part", python(SAYS_READY, tmp_path / "log"), lambda _: None)
    await keeper.start()
    keeper.retire()
    assert keeper.part.process
    keeper.part.process.terminate()
    await keeper.part.process.wait()
    await asyncio.sleep(0.5)
    assert keeper.part.process.returncode == -signal.SIGTERM
    await keeper.stop()


async def test_a_part_that_was_stopped_stays_down(tmp_path: Path) -> None:
    """Stopping is not a failure; starting brings it back."""
    keeper = Keeper("part", python(SAYS_READY, tmp_path / "log"), lambda _: None)
    await keeper.start()
    assert keeper.part.process
    await keeper.stop()
    assert keeper.part.process.returncode == -signal.SIGTERM
    assert not keeper.ready.is_set()
    await keeper.start()
    assert keeper.part.process.returncode is None
    with pytest.raises(RuntimeError, match="running already"):
        await keeper.start()
    await keeper.stop()


async def test_a_part_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    """The log's tail says more than a status."""
    keeper = Keeper("part", python("raise SystemExit('no such setting')", tmp_path / "log"), lambda _: None)
    with pytest.raises(PartFailedError, match=r"part did not start: it ended with status 1.*\n.*no such setting"):
        await keeper.start()


async def test_what_an_earlier_process_said_does_not_make_a_part_ready(tmp_path: Path) -> None:
    """The log goes on where it was, and readiness begins anew."""
    log_file = tmp_path / "log"
    log_file.write_text("here, ready\n")
    with pytest.raises(PartFailedError, match="ended with status 3"):
        await python("raise SystemExit(3)", log_file).start()


async def test_a_part_that_never_gets_ready_is_stopped(tmp_path: Path) -> None:
    """The start fails after a bounded time and leaves nothing running."""
    part = python("import time; time.sleep(60)", tmp_path / "log", start_timeout_s=0.2)
    with pytest.raises(PartFailedError, match=r"not ready within 0\.2 s"):
        await part.start()
    assert part.process
    assert part.process.returncode is not None


async def test_a_part_that_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    """Ctrl-C always ends."""
    part = python(IGNORES_SIGTERM, tmp_path / "log", stop_timeout_s=0.2)
    await part.start()
    await part.stop()
    assert part.process
    assert part.process.returncode == -signal.SIGKILL


async def test_no_part_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    """The kernel ends the children of a parent that had no time to."""
    parent = f"""
import asyncio, sys
from pathlib import Path
from local.servers.parts import Server

async def main():
    part = Server([sys.executable, "-c", {SAYS_READY!r}], Path({str(tmp_path / "log")!r}))
    await part.start()
    print(part.process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    child = int(await process.stdout.readline())
    assert not gone(child)
    process.kill()
    await process.wait()

    async def child_is_gone() -> bool:
        return gone(child)

    await eventually(child_is_gone)


@pytest.mark.parametrize(
    ("answer", "ready"), [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.1 503 No\r\n\r\n", False), (b"", False)]
)
async def test_a_probe_takes_200_alone_for_ready(answer: bytes, ready: bool) -> None:
    """As a readiness probe does, with a little less tolerance."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # who only looks whether somebody listens sends nothing
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await answers(port, "/healthz") == ready
        assert await answers(port)
    assert not await answers(port)
    assert not await answers(port, "/healthz")
