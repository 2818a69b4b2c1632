"""An HTTP server that answers by a script, faults included, and keeps what arrived."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from tests.local.stand_ins.recording import unbase64
from wire import http as http1


@dataclass
class Request:
    """A request as it arrived; header values as Latin-1."""

    method: str
    target: str
    headers: http1.Headers
    body: bytes
    at_s: float


@dataclass
class ScriptedSink:
    """One server on its own port; the last answer repeats."""

    answers: list[dict[str, Any]]
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    _server: asyncio.Server | None = None
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        """Listen; a sink whose only answer is to refuse takes a port and does not listen on it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        if self.answers[0].get("fault") == "refuse":
            await self.stop()

    async def stop(self) -> None:
        """Close all."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._connections):
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while (head := await http1.read_head(reader, headers_limit=60_000)) is not None:
                body = await http1.read_body(reader, head[1])
                method, target, _ = head[0].split(" ")
                now = asyncio.get_running_loop().time()
                self.requests.append(Request(method, target, head[1], body, now))
                answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
                if not await self._answer(answer, reader, writer):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, answer: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        await asyncio.sleep(answer.get("delay_ms", 0) / 1000)
        fault = answer.get("fault")
        if fault is None:
            body = unbase64(answer.get("body_b64")) or b""
            lines = [f"{name}: {value.replace('{sink}', self.url)}\r\n" for name, value in answer.get("headers", [])]
            length = "" if answer["status"] == 204 else f"Content-Length: {len(body)}\r\n"
            head = f"HTTP/1.1 {answer['status']} Scripted\r\n{''.join(lines)}{length}\r\n"
            writer.write(head.encode("latin-1") + body)
            await writer.drain()
            return True
        if fault == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif fault == "silence":
            await reader.read()
        elif fault == "garbage":
            writer.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        elif fault == "no-length":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        elif fault == "http10":
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        elif fault == "trickle":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            for _ in range(5):
                await asyncio.sleep(1)
                writer.write(b".")
        else:
            assert fault == "close", fault
        return False
