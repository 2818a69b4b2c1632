"""What tests share: a real mongod and the three databases in it, once for the session, and settings to change."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pymongo
import pytest

from local.ports import Ports
from local.servers.mongodb import Mongod
from shop.process import process
from shop.process.process import Process
from shop.setup import COLLECTIONS, setup
from shop.store.client import client, collection, open_client
from tests.support.own_servers import given


@dataclass(frozen=True)
class Running:
    """A MongoDB that somebody else started: their own, or one that many short sessions use, one after the other."""

    uri: str

    def empty(self) -> None:
        """Drop what the session before has left, a mutant's indexes and validators too."""
        with pymongo.MongoClient(self.uri) as client:
            for name in client.list_database_names():
                if name not in ("admin", "config", "local"):
                    client.drop_database(name)


@pytest.fixture(scope="session")
async def mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongod | Running]:
    """Run a real mongod, a replica set of one, on a free port; or use the one that a run was given.

    TESTS_MONGODB_URI names one that is emptied whole.
    """
    if uri := given().mongodb_uri:
        yield Running(uri)
        return
    if uri := os.environ.get("TESTS_MONGODB_URI"):
        running = Running(uri)
        running.empty()
        yield running
        return
    folder: Path = tmp_path_factory.mktemp("mongod")
    server = Mongod(folder / "data", Ports().free(), folder / "mongod.log")
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def own_mongod(folder: Path) -> AsyncIterator[Mongod]:
    """Run a mongod of one's own, with fail points."""
    server = Mongod(folder / "data", Ports().free(), folder / "mongod.log", fail_points=True)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def databases(mongod: Mongod | Running) -> AsyncIterator[None]:
    """Set up the three databases; functions and `shop` called in this process use them."""
    before = process.current()
    process.use(Process(replace(before.settings, mongodb_uri=mongod.uri, databases=given().names)))
    await setup()
    yield
    await process.current().close()
    process.use(before)


@pytest.fixture
async def configure() -> AsyncIterator[Callable[..., None]]:
    """Return what starts this process anew, with some other settings, until the test is over.

    As long as MongoDB is where it was, its connections are those of before.
    """
    before, started = process.current(), []

    def start(**changes: object) -> None:
        given = {} if "mongodb_uri" in changes else {open_client: client()}
        started.append(Process(replace(process.current().settings, **changes), given))
        process.use(started[-1])

    yield start
    process.use(before)
    for each in started:
        await each.close()


@pytest.fixture
async def shop(databases: None) -> None:
    """Empty the three databases before the test."""
    for each in COLLECTIONS:
        await collection(each.service, each.name).delete_many({})
