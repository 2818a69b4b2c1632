"""Read the three databases: always what a majority holds, from the primary, and never a write.

Repair goes the way of every order, through the events; a tool that could write would be one more way to be wrong.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern

from cli.places import Places
from shop import settings

Document = dict[str, Any]

SELECTION_TIMEOUT_MS = 5_000
"""How long to look for a primary; a failover takes longer, and whoever waits for the command should hear of it."""

READ_TIMEOUT_MS = 60_000
"""The longest wait for one batch of documents."""


class Databases:
    """The databases of `orders`, `billing` and `notify`, wherever each is."""

    def __init__(self, places: Places) -> None:
        self._clients: Mapping[str, MongoClient[Document]] = {
            uri: MongoClient(
                uri,
                appname="orders-cli",
                tz_aware=True,
                serverSelectionTimeoutMS=SELECTION_TIMEOUT_MS,
                socketTimeoutMS=READ_TIMEOUT_MS,
            )
            for uri in set(places.mongodb_uris.values())
        }
        self._uris = places.mongodb_uris

    def collection(self, service: str, name: str, options: CodecOptions[Any] | None = None) -> Collection[Any]:
        """Return a collection; options say what its documents are read as."""
        database = self._clients[self._uris[service]].get_database(
            settings.database(service), read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
        )
        return database.get_collection(name, codec_options=options)

    def now(self) -> datetime:
        """Return the time by the clock of the `orders` database, the one that resend goes by."""
        orders = self._clients[self._uris["orders"]]
        time: datetime = orders.admin.command("hello", codec_options=orders.codec_options)["localTime"]
        return time

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def __enter__(self) -> "Databases":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
