"""Run tests against mutants: each in a copy of the project, never in the project itself.

A copy and a mongod for each worker, made once; a mutant is written into its copy, its tests run, and the file restored.
"""

import asyncio
import contextlib
import enum
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from local.ports import free_port
from local.servers.child import die_with_parent
from local.servers.mongodb import Mongod
from proof.mutants.mutant import Mutant

WORKERS = 2
"""Tests wait little and compute much: more than the cores of a small machine would only slow one another down."""

TIMEOUT_S = 90
"""For the tests of one mutant. They take seconds; the machine may be busy."""

ALL_TIMEOUT_S = 600
"""For all tests once, without a mutant."""

_PYTEST = (
    *(sys.executable, "-m", "pytest", "--exitfirst", "--quiet", "--no-header", "--tb=short", "-p", "no:cacheprovider"),
    *("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout"),
)


class Fate(enum.StrEnum):
    """What became of a mutant."""

    DIED = "died"
    SURVIVED = "SURVIVED"
    HUNG = "HUNG"
    BROKE = "BROKE"
    """Nothing was tested: a file could not be imported, or a test is not there."""


_seconds = itertools.count(1)

_FATES = {0: Fate.SURVIVED, 1: Fate.DIED}  # by pytest's exit code; any other: no test came to a result


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant, and what pytest said."""

    mutant: Mutant
    fate: Fate
    seconds: float
    output: str

    @property
    def killer(self) -> str:
        """Return the name of the test that failed, empty when none did."""
        failed = re.search(r"^(?:FAILED|ERROR) \S*?([\w.]+(?:::\w+)+)", self.output, re.MULTILINE)
        return failed[1].rpartition("::")[2] if failed else ""


@dataclass(frozen=True)
class Bench:
    """A copy of the project, and a mongod that its tests use one after the other."""

    root: Path
    mongodb_uri: str

    async def run(self, mutant: Mutant) -> Outcome:
        """Run a mutant's tests against it."""
        file = self.root / mutant.file
        healthy, since = file.read_bytes(), file.stat().st_mtime
        started = time.monotonic()
        file.write_text(mutant.mutated(self.root), encoding="utf-8")
        # Python knows compiled files by their source's size and second: no mutant may be taken for another.
        os.utime(file, (since, since + next(_seconds)))
        try:
            code, output = await self.test(mutant.tests, TIMEOUT_S)
        finally:
            file.write_bytes(healthy)
            os.utime(file, (since, since))
        fate = Fate.HUNG if code is None else _FATES.get(code, Fate.BROKE)
        return Outcome(mutant, fate, time.monotonic() - started, output)

    async def test(self, tests: Iterable[str], timeout_s: float) -> tuple[int | None, str]:
        """Run tests and return pytest's exit code, None when it took too long, and what it said."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),  # not the project that is installed
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # some take longer to import than the tests to run
            "TESTS_MONGODB_URI": self.mongodb_uri,
        }
        process = await asyncio.create_subprocess_exec(
            *(*_PYTEST, *tests),
            cwd=self.root,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=die_with_parent,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                output, _ = await process.communicate()
        except TimeoutError:
            return None, f"no end after {timeout_s:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what its tests started
            await process.wait()
        return process.returncode, output.decode(errors="replace")


@contextlib.asynccontextmanager
async def benches(project: Path, number: int = WORKERS) -> AsyncIterator[list[Bench]]:
    """Make benches, with all files of the project as they are now, committed or not; remove them in the end."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221
    files = [name for name in listed.split("\0") if name and (project / name).is_file()]
    with TemporaryDirectory(prefix="mutants-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            servers = []
            for index in range(number):
                root = Path(folder) / str(index)
                for name in files:
                    (root / "project" / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(project / name, root / "project" / name)
                for git in (("init", "--quiet"), ("add", "--all")):  # some tests ask which files there are
                    subprocess.run(("git", *git), cwd=root / "project", check=True)  # noqa: ASYNC221
                server = Mongod(root / "data", free_port(), root / "mongod.log")
                stack.push_async_callback(server.stop)
                servers.append((server, root / "project"))
            await asyncio.gather(*(server.start() for server, _ in servers))
            yield [Bench(root, server.uri) for server, root in servers]


async def failing(benches: Sequence[Bench], mutants: Iterable[Mutant]) -> str:
    """Run all tests without a mutant; return what pytest says when one fails: it would fail with any mutant."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    files = {test.partition("::")[0] for test in tests}
    whole = [test for test in tests if test in files or test.partition("::")[0] not in tests]
    shares = [whole[index :: len(benches)] for index in range(len(benches))]
    results = await asyncio.gather(
        *(bench.test(share, ALL_TIMEOUT_S) for bench, share in zip(benches, shares, strict=True) if share)
    )
    return "\n".join(output for code, output in results if code != 0)


async def run_all(
    benches: Sequence[Bench], mutants: Sequence[Mutant], told: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run all mutants, as many at a time as there are benches, and tell of each as it ends."""
    waiting: Iterator[Mutant] = iter(mutants)
    outcomes: list[Outcome] = []

    async def work(bench: Bench) -> None:
        for mutant in waiting:
            outcome = await bench.run(mutant)
            outcomes.append(outcome)
            told(outcome)

    workers: list[Awaitable[None]] = [work(bench) for bench in benches]
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker)
    return outcomes
