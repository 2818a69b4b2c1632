"""A MongoDB in which setup was never run, for what comes before it."""

from collections.abc import AsyncIterator, Callable

import pytest

from local.servers.mongodb import Mongod
from shop.state import SERVICES
from shop.store.client import client
from tests.support.fixtures import own_mongod


@pytest.fixture(scope="package")
async def empty_mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongod]:
    """Run a mongod of one's own, with fail points."""
    async with own_mongod(tmp_path_factory.mktemp("empty")) as server:
        yield server


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
