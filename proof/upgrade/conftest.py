"""The databases that 67d5614 left, set up anew, and the functions of today that serve them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from local.servers.mongodb import Mongod
from proof.upgrade.kept import bring_back, refill
from proof.upgrade.old_code import check_out
from proof.upgrade.served import Functions, setup
from tests.support.fixtures import own_mongod
from tests.support.functions import FUNCTIONS
from tests.support.sink import Sink


@pytest.fixture(scope="session")
async def mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongod]:
    """Run a mongod of our own: whole databases come and go in it."""
    async with own_mongod(tmp_path_factory.mktemp("mongod")) as server:
        yield server


@pytest.fixture(scope="session")
def client(mongod: Mongod) -> Iterator[MongoClient[Any]]:
    """Look into the databases, past all code of ours."""
    with MongoClient[Any](mongod.uri, tz_aware=True) as opened:
        yield opened


@pytest.fixture(scope="session")
async def today(client: MongoClient[Any], mongod: Mongod) -> AsyncIterator[Functions]:
    """Run today's setup over what 67d5614 left, then today's functions."""
    bring_back(client)
    code, said = await setup(mongod.uri)
    assert code == 0, said
    async with Sink() as sink, Functions(mongod.uri, sink) as running:
        await running.start(*FUNCTIONS)
        yield running


@pytest.fixture(scope="session")
async def yesterday(
    today: Functions, mongod: Mongod, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Functions]:
    """Return the functions of 67d5614 that change accounts, beside today's."""
    async with Sink() as sink, Functions(mongod.uri, sink, check_out(tmp_path_factory.mktemp("old"))) as running:
        await running.start("billing_handler", "deposit_cash")
        yield running


@pytest.fixture
def shop(client: MongoClient[Any], today: Functions) -> Functions:
    """Return today's functions, on all documents that 67d5614 left and no others."""
    refill(client)
    today.emitted()
    return today
