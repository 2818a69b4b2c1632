"""`--shard` sends what shards each collection by its user.

No mongos is at hand here: a stand-in takes the commands. That a real one would take what functions send is held by the
listener of tests/support/statements.py, from MongoDB's documented rules.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from shop.process import process
from shop.process.process import Process
from shop.setup import setup, shard
from shop.setup.databases import how_to_connect
from shop.setup.sharding import NotSharded
from shop.state import COLLECTIONS
from shop.store.client import Document, client, open_client

FAILED = OperationFailure("already sharded by something else", 23)


class Mongos:
    """Takes commands as the admin database of a mongos does; the other databases are the real ones."""

    def __init__(self, refuses: str | None = None) -> None:
        self.sent: list[tuple[str, Any, Any]] = []
        self._refuses = refuses

    @property
    def admin(self) -> "Mongos":
        """Return the database that takes the commands."""
        return self

    async def command(self, name: str, value: object = 1, **more: object) -> dict[str, object]:
        """Take one, or refuse it."""
        if name == "hello":
            return {"ok": 1, "msg": "isdbgrid"}
        if value == self._refuses:
            raise FAILED
        self.sent.append((name, value, more))
        return {"ok": 1}

    def get_database(self, name: str, **concerns: Any) -> AsyncDatabase[Document]:
        """Return another database than admin."""
        return client().get_database(name, **concerns)

    async def close(self) -> None:
        """Nothing to do."""


def connected(mongos: Mongos) -> AbstractContextManager[Process]:
    """Let shop.setup find a mongos."""
    given = {open_client: client(), how_to_connect: lambda _: mongos}
    return process.running(Process(process.current().settings, given))


@pytest.mark.usefixtures("empty")
async def test_each_collection_is_sharded_by_its_user() -> None:
    """Ranges of users; the accounts by their _id, which is the user. `meta` is one document and stays where it is."""
    mongos = Mongos()
    with connected(mongos):
        await shard()
    assert mongos.sent == [
        ("enableSharding", "orders", {}),
        ("shardCollection", "orders.baskets", {"key": {"user": 1}}),
        ("enableSharding", "billing", {}),
        ("shardCollection", "billing.users", {"key": {"_id": 1}}),
        ("shardCollection", "billing.paid_baskets", {"key": {"user": 1}}),
        ("shardCollection", "billing.deposits", {"key": {"user": 1}}),
        ("enableSharding", "notify", {}),
        ("shardCollection", "notify.notifications", {"key": {"user": 1}}),
    ]


@pytest.mark.usefixtures("empty")
async def test_the_databases_are_sharded_by_their_names(configure: Callable[..., None]) -> None:
    """As the settings rename them."""
    mongos = Mongos()
    configure(databases={**process.current().settings.databases, "notify": "told"})
    with connected(mongos):
        await shard(("notify",))
    assert [value for _, value, _ in mongos.sent] == ["told", "told.notifications"]


@pytest.mark.usefixtures("empty")
async def test_what_is_sharded_otherwise_is_named() -> None:
    """A shard key is not changed by a set-up."""
    refused = pytest.raises(NotSharded, match=r"billing\.users cannot be sharded by _id: already sharded")
    with connected(Mongos(refuses="billing.users")), refused:
        await shard(("billing",))


@pytest.mark.usefixtures("empty")
async def test_without_a_mongos_nothing_is_sharded() -> None:
    """A replica set says so itself, and shop.setup says what to connect to."""
    await setup()
    with pytest.raises(NotSharded, match="orders is not on a sharded cluster; connect to a mongos"):
        await shard()


@pytest.mark.parametrize("wanted", COLLECTIONS, ids=lambda wanted: f"{wanted.service}.{wanted.name}")
def test_every_unique_index_begins_with_the_user(wanted: Any) -> None:
    """Then it holds on the shard that has the user, and MongoDB can make it on a sharded collection."""
    for index in wanted.indexes:
        if index.unique:
            assert next(iter(index.keys)) == wanted.user
    if wanted.user not in (None, "_id"):  # sharding needs an index that begins with the key
        assert any(next(iter(index.keys)) == wanted.user and not index.only for index in wanted.indexes)
