"""One HTTP request to this machine, for its status."""

import asyncio
from collections.abc import Mapping

_NO_HEADERS: Mapping[str, str] = {}


async def request(port: int, method: str, path: str, headers: Mapping[str, str] = _NO_HEADERS) -> int:
    """Send a request without a body to 127.0.0.1 and return the status of the answer.

    Raises:
        OSError: nobody listens, or the connection broke.
        TimeoutError: no status within 60 s, longer than any function takes.

    """
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            head = {"Host": f"127.0.0.1:{port}", **headers, "Content-Length": "0", "Connection": "close"}
            lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
            writer.write("\r\n".join(lines).encode("latin-1"))
            answer = (await reader.readline()).split()
            if len(answer) < 2:
                raise ConnectionResetError("the connection was closed without an answer")
            return int(answer[1])
        finally:
            writer.close()


async def answers(port: int, path: str | None = None) -> bool:
    """Whether somebody listens on this port, and answers 200 on `path` if one is given."""
    try:
        if path is not None:
            return await request(port, "GET", path) == 200
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
