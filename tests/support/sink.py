"""A sink for events: a tiny real HTTP server that keeps what it is sent, byte for byte, and fails as it is told."""

import asyncio
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

HANG = 0
"""In place of a status: never answer."""

CLOSE = -1
"""In place of a status: close the connection without an answer."""


@dataclass(frozen=True)
class Received:
    """One request as it was on the wire."""

    request_line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header's value by its exact name, or None."""
        return dict(self.headers).get(name)


@dataclass
class Sink:
    """Answers 202, or what `answers` says first; `async with` starts and stops it."""

    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    closes_after_each: bool = False
    """Close each connection after an answer, without having announced it."""

    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    connections: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Return its address, with a path as KafkaSink's has one."""
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{port}/shop/payments"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._answer_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = [(name, value.lstrip()) for name, _, value in (line.partition(":") for line in head[1:])]
        length = int({name.lower(): value for name, value in headers}.get("content-length", 0))
        self.received.append(Received(head[0], headers, await reader.readexactly(length)))
        status = self.answers.pop(0) if self.answers else 202
        if status == HANG:
            await reader.read()  # until the client gives up
        if status in (HANG, CLOSE):
            return False
        location = "Location: /elsewhere\r\n" if status // 100 == 3 else ""
        writer.write(f"HTTP/1.1 {status} Whatever\r\n{location}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        return not self.closes_after_each


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make the certificate of a server on this machine, and its key; nobody trusts it yet."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    new = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", *new, *names, "-days", "2", "-keyout", key, "-out", made]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made, key


def serving(certified: tuple[Path, Path]) -> ssl.SSLContext:
    """Return what a server with this certificate speaks."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certified)
    return tls
