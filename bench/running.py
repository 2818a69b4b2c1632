"""A mongod and one process of a function beside it, for the parts that need no more of a stack."""

import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import cpu
from local.ports import free_port
from local.servers.mongodb import Mongod
from local.servers.parts import Server, failed, spawn
from local.servers.probe import answers
from local.servers.services import base_environment

PYTHON: Final = sys.executable
NO_SINK: Final = "http://127.0.0.1:9"
"""For what emits nothing in its measurement: nobody listens there."""


@dataclass(frozen=True)
class Running:
    """A process that is measured, with all that it has started."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def processes(self) -> list[cpu.Process]:
        """It, and its workers."""
        return cpu.descendants(self.pid)


@dataclass(frozen=True)
class Database:
    """A mongod of its own."""

    uri: str
    processes: list[cpu.Process]
    folder: Path
    """For logs, too; it goes with it."""

    async def set_up(self, **names: str) -> None:
        """Make collections and indexes, of databases that `BILLING_DATABASE=...` and the like name."""
        log_file = self.folder / "setup.log"
        environment = {**base_environment(), "MONGODB_URI": self.uri, **names}
        process = await spawn([PYTHON, "-m", "shop.setup"], log_file, environment)
        if (status := await process.wait()) != 0:
            raise failed(f"shop.setup ended with status {status}", log_file)


@asynccontextmanager
async def database() -> AsyncIterator[Database]:
    """Run a mongod, with data that nobody keeps, for as long as the block does. Raises PartFailedError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        mongod = Mongod(folder / "mongodb", free_port(), folder / "mongod.log")
        await mongod.start()
        try:
            assert mongod.process is not None  # noqa: S101
            yield Database(mongod.uri, cpu.descendants(mongod.process.pid), folder)
        finally:
            await mongod.stop()


@asynccontextmanager
async def served(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    log_file: Path,
    ready: Callable[[int], Awaitable[bool]] = answers,
) -> AsyncIterator[Running]:
    """Run a program for as long as the block does; it is ready when it is so on the free port that PORT names.

    Raises:
        PartFailedError: it did not start.

    """
    port = free_port()
    everything = {**base_environment(), "PORT": str(port), "HOST": "127.0.0.1", **environment}
    server = Server(command, log_file, lambda: ready(port), everything)
    await server.start()
    try:
        assert server.process is not None  # noqa: S101
        yield Running(server.process.pid, port)
    finally:
        await server.stop()


async def healthy(port: int) -> bool:
    """Whether a function of ours is ready."""
    return await answers(port, "/healthz")


async def at_once(_: int) -> bool:
    """For what listens nowhere: whoever gives it work waits until it is done."""
    return True


def function(name: str) -> tuple[list[str], dict[str, str]]:
    """Return the command of a function of ours, and what its environment names it by."""
    service = name.replace("_", "-")
    return [PYTHON, "-m", "shop.serve", service], {"FUNCTION_TARGET": name, "K_SERVICE": service}
