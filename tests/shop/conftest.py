"""A MongoDB in which setup was never run, for what comes before it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from local.ports import Ports
from local.servers.mongodb import Mongod
from shop.state import SERVICES
from shop.store.client import client


@pytest.fixture(scope="package")
async def empty_mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongod]:
    """Run a mongod of one's own, with fail points."""
    folder: Path = tmp_path_factory.mktemp("empty")
    server = Mongod(folder / "data", Ports().free(), folder / "mongod.log", fail_points=True)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def empty(empty_mongod: Mongod, configure: Callable[..., None]) -> None:
    """Point this process at databases that hold nothing, setup's collections neither, until the test ends."""
    configure(mongodb_uri=empty_mongod.uri)
    for service in SERVICES:
        await client().drop_database(service)


@pytest.fixture(autouse=True)
def knows_nothing(configure: Callable[..., None]) -> None:
    """Each test is a process that just started."""
    configure()
