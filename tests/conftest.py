"""What tests share: a real mongod, the three databases in it, and the whole stack, each once for the session."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.mongodb import Mongod
from local.ports import Ports
from shop import emission, mongo, settings
from shop.setup import COLLECTIONS, setup
from tests.stack_fixtures import stack as stack


@pytest.fixture(scope="session")
async def mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongod]:
    """Run a real mongod, a replica set of one, on a free port."""
    folder: Path = tmp_path_factory.mktemp("mongod")
    server = Mongod(folder / "data", Ports().claim("MONGODB_PORT", 0), folder / "mongod.log")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def databases(mongod: Mongod) -> AsyncIterator[None]:
    """Set up the three databases; functions and `shop` called in this process use them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MONGODB_URI", mongod.uri)
        await setup()
        yield
        await emission.close()
        await mongo.close()


@pytest.fixture
async def shop(databases: None) -> None:
    """Empty the three databases before the test."""
    for collection in COLLECTIONS:
        await mongo.client()[settings.database(collection.service)][collection.name].delete_many({})
