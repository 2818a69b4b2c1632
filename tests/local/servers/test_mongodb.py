"""The mongod of the one-machine stack, started and given up."""

import asyncio
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient

from local.ports import Ports
from local.servers.mongodb import Mongod
from local.servers.parts import PartFailedError


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
    server = Mongod(tmp_path / "data", Ports().free(), tmp_path / "log")
    starting = asyncio.create_task(server.start())
    await closing.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await server.stop()
    async with asyncio.timeout(10):
        await closed.wait()


async def test_a_mongod_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The errors of its log, not the twenty lines about its shutdown that come after them; of this start only."""
    running = Mongod(tmp_path / "data", Ports().free(), tmp_path / "log")
    await running.start()
    try:
        second = Mongod(tmp_path / "data", Ports().free(), tmp_path / "second")
        (tmp_path / "second").write_text('{"s":"F","msg":"of an earlier start"}\n')
        with pytest.raises(PartFailedError, match="it ended with status 100") as refused:
            await second.start()
    finally:
        await running.stop()
    _, *reasons = str(refused.value).splitlines()
    assert len(reasons) == 1
    assert "Another mongod instance is already running" in reasons[0]


async def test_a_mongod_of_somebody_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    """One that took the port since it was chosen answers there, and has other data."""
    running = Mongod(tmp_path / "data", Ports().free(), tmp_path / "log")
    await running.start()
    try:
        with pytest.raises(PartFailedError, match=f"port {running._port}, meant for it, is in use"):
            await Mongod(tmp_path / "others", running._port, tmp_path / "second").start()
    finally:
        await running.stop()
