"""Shard every collection by its user, on a MongoDB that is sharded.

Every statement of a function names its user, so each goes to one shard; the unique indexes begin with the user, so they
hold on the shard that has it.
"""

import logging

from pymongo.errors import OperationFailure

from shop.setup.databases import Databases
from shop.state import COLLECTIONS, SERVICES

_log = logging.getLogger(__name__)


class NotSharded(Exception):
    """Say what could not be sharded."""


async def shard(services: tuple[str, ...] = SERVICES) -> None:
    """Shard what setup has made, each collection by its user. What is sharded so already stays as it is.

    Raises NotSharded when MongoDB is no sharded cluster, or has a collection sharded by something else.
    """
    async with Databases() as databases:
        for service in services:
            admin, database = databases.client(service).admin, databases[service]
            if (await admin.command("hello")).get("msg") != "isdbgrid":
                raise NotSharded(f"{database.name} is not on a sharded cluster; connect to a mongos of one")
            await admin.command("enableSharding", database.name)
            for collection in COLLECTIONS:
                if collection.service != service or collection.user is None:
                    continue
                namespace = f"{database.name}.{collection.name}"
                try:
                    await admin.command("shardCollection", namespace, key={collection.user: 1})
                except OperationFailure as error:
                    raise NotSharded(f"{namespace} cannot be sharded by {collection.user}: {error}") from error
                _log.info("%s is sharded by %s", namespace, collection.user)
