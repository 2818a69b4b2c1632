"""Functions as real processes on free ports, and plain HTTP to them, byte for byte."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from local.ports import free_port
from local.servers.child import die_with_parent
from tests.support.asgi import Answer

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 20
"""A function starts in less than a second; the machine may be busy."""

ANSWER_TIMEOUT_S = 15
"""A function works for 10 s at most."""


class Process:
    """A function's process, and requests to it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def raw(self, request: bytes) -> Answer:
        """Send these bytes on a connection of their own and return the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await read_answer(reader)
        finally:
            writer.close()

    async def send(self, method: str, path: str, body: bytes = b"", *headers: str) -> Answer:
        """Send a request with these header lines, and no others but Host and Content-Length."""
        host = () if any(line.lower().startswith("host:") for line in headers) else ("Host: shop.example.com",)
        lines = (f"{method} {path} HTTP/1.1", *host, *headers, f"Content-Length: {len(body)}", "", "")
        return await self.raw("\r\n".join(lines).encode("latin-1") + body)

    def terminate(self) -> None:
        """Send SIGTERM, as Knative does before a container ends."""
        self.process.send_signal(signal.SIGTERM)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one HTTP/1.1 answer that has a Content-Length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return Answer(int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"])))


@contextlib.asynccontextmanager
async def serving(
    command: tuple[str, ...], environment: Mapping[str, str], folder: Path = ROOT
) -> AsyncIterator[Process]:
    """Run a server of a function on a free port, once it answers /healthz; kill it in the end."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "HOST": "127.0.0.1", "PORT": str(port), **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=die_with_parent,
        start_new_session=True,
    )
    served = Process(process, port)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await _healthy(served):  # noqa: ASYNC110 - another process; nobody tells
                await asyncio.sleep(0.05)
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a group of its own: gunicorn has a worker
        await process.wait()


async def _healthy(served: Process) -> bool:
    if served.process.returncode is not None:
        raise AssertionError(f"the process ended with {served.process.returncode}")
    try:
        return (await served.send("GET", "/healthz")).status == 200
    except OSError:
        return False


def shop_serve(function: str, **environment: str) -> AbstractAsyncContextManager[Process]:
    """Run `python -m shop.serve`, what a container starts, for a function."""
    return serving((sys.executable, "-m", "shop.serve"), {"FUNCTION_TARGET": function, **environment})
