"""A system that is measured: where it answers, and which processes it is made of."""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import cpu
from local.folder import addresses
from local.servers.locked_jars import JARS
from local.servers.parts import failed, spawn
from local.servers.services import base_environment
from local.settings import ROOT

_START_S: Final = 240  # ready within 10 s on an idle machine with two cores
_STOP_S: Final = 60
_READY: Final = re.compile(r"^Ready after .* on (http://[^;\s]+)", re.MULTILINE)


@dataclass(frozen=True)
class System:
    """A shop that runs."""

    name: str
    url: str
    processes: list[cpu.Process]
    folder: Path
    """The folder of its stack: LOCAL_DIR."""

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where its parts are."""
        return addresses(self.folder)


@asynccontextmanager
async def stack(name: str, tree: Path = ROOT, python: str = sys.executable) -> AsyncIterator[System]:
    """Run the stack of a tree, on free ports and with data that nobody keeps, for as long as the block does.

    It is a process of its own, and so is the load: one tree's code never runs with another's.

    Raises:
        PartFailedError: it did not start.

    """
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder, log_file = Path(temporary) / "stack", Path(temporary) / "local.log"
        ports = dict.fromkeys(("PORT", "MONGODB_PORT", "KAFKA_PORT", "SINK_PORT"), "0")
        environment = {**base_environment(), **ports, "LOCAL_DIR": str(folder), "KAFKA_JARS": os.fspath(JARS)}
        process = await spawn([python, "-m", "local"], log_file, environment, tree)
        try:
            url = await _ready(process, log_file)
            yield System(name, url, cpu.descendants(process.pid), folder)
        finally:
            await _stop(process)


async def _ready(process: asyncio.subprocess.Process, log_file: Path) -> str:
    try:
        async with asyncio.timeout(_START_S):
            while (url := _url(log_file)) is None:
                if process.returncode is not None:
                    raise failed(f"the stack ended with status {process.returncode}", log_file)
                await asyncio.sleep(0.1)
            return url
    except TimeoutError:
        raise failed(f"the stack was not ready within {_START_S} s", log_file) from None


def _url(log_file: Path) -> str | None:
    """Return where the stack says that it is, once it is ready."""
    said = _READY.search(log_file.read_text(errors="replace"))
    return said[1] if said else None


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask it to end, and its parts with it; what does not is ended by the kernel when the keeper is killed."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
