"""Make a MongoDB of one node the replica set that a URI names: only a replica set has writes with majority.

For a MongoDB to try the shop with. One that matters has more nodes, and whoever runs it has made it a replica set.
"""

import logging
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure
from pymongo.uri_parser import parse_uri

from shop.process import process
from shop.setup.databases import APPLICATION
from shop.state import SERVICES
from shop.store.client import Document

_log = logging.getLogger(__name__)

_PATIENCE_S: Final = 300
"""How long it may take until MongoDB answers: beside it, its image is still being pulled. The URI may say another."""

_ALREADY_INITIALIZED: Final = 23


class NotInitiated(Exception):
    """Say why a URI names no replica set of one."""


async def initiate(services: tuple[str, ...] = SERVICES) -> None:
    """Wait for the MongoDB of each service, and make it a replica set of one, unless it is a replica set already.

    Raises NotInitiated, before anything is done, for a URI with more nodes than one, or without `replicaSet`.
    """
    told = process.current().settings
    uris = {told.mongodb_uris.get(service, told.mongodb_uri) for service in services}
    for uri, (name, host) in {uri: _named(uri) for uri in uris}.items():
        _log.info("waiting for the MongoDB at %s", host)
        # Directly, and whatever it calls itself: a node of no replica set is none that the driver would choose.
        options: dict[str, Any] = {"directConnection": True, "replicaSet": None, "appname": APPLICATION}
        if "serverselectiontimeoutms" not in uri.lower():
            options["serverSelectionTimeoutMS"] = 1000 * _PATIENCE_S
        async with AsyncMongoClient[Document](uri, **options) as client:
            members = [{"_id": 0, "host": host}]
            try:
                await client.admin.command("replSetInitiate", {"_id": name, "members": members})
            except OperationFailure as error:
                if error.code != _ALREADY_INITIALIZED:
                    raise
        _log.info("%s is a node of a replica set", host)


def _named(uri: str) -> tuple[str, str]:
    """Return the replica set that a URI names, and its one node."""
    parsed = parse_uri(uri)
    name, hosts = parsed["options"].get("replicaSet"), [f"{host}:{port}" for host, port in parsed["nodelist"]]
    if not name:
        raise NotInitiated(
            f"the URI of {', '.join(hosts)} does not say what the replica set is called: ?replicaSet=shop"
        )
    if len(hosts) != 1:
        raise NotInitiated(f"{', '.join(hosts)} are more nodes than one: initiate them with rs.initiate, by hand")
    return name, hosts[0]
