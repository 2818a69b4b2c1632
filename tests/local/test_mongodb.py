"""The mongod of the one-machine stack, started and given up."""

import asyncio
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient

from local.mongodb import Mongod
from local.ports import Ports


async def test_a_start_that_is_given_up_leaves_no_client_half_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another part fails, the start is cancelled, and be it while its client is being closed."""
    closing, closed = asyncio.Event(), asyncio.Event()
    close = AsyncMongoClient.close

    async def slow(client: AsyncMongoClient[object]) -> None:
        closing.set()
        await asyncio.sleep(0.1)
        await close(client)
        closed.set()

    monkeypatch.setattr(AsyncMongoClient, "close", slow)
    server = Mongod(tmp_path / "data", Ports().claim("MONGODB_PORT", 0), tmp_path / "log")
    starting = asyncio.create_task(server.start())
    await closing.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await server.stop()
    async with asyncio.timeout(10):
        await closed.wait()
