"""Read the three databases: always what a majority holds, from the primary, and never a write.

Repair goes the way of every order, through the events; a tool that could write would be one more way to be wrong.
"""

import os
import warnings
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from operate.cli.output import WrongUse, note
from operate.places import Places
from shop.process.settings import Settings, WrongSettings

Document = dict[str, Any]

SELECTION_TIMEOUT_MS = 5_000
"""How long to look for a primary; a failover takes longer, and whoever waits for the command should hear of it."""

READ_TIMEOUT_MS = 60_000
"""The longest wait for one batch of documents."""


class Databases:
    """The databases of `orders`, `billing` and `notify`, wherever each is."""

    def __init__(self, places: Places) -> None:
        """Open the clients; nothing is asked yet. Raises WrongUse for a URI or a name that cannot be one."""
        self._uris = places.mongodb_uris
        self._names = _names()
        self._clients: dict[str, MongoClient[Document]] = {}
        for service, uri in self._uris.items():
            if uri not in self._clients:
                self._clients[uri] = _client(uri, places.mongodb[service].by)

    def collection(self, service: str, name: str, options: CodecOptions[Any] | None = None) -> Collection[Any]:
        """Return a collection; options say what its documents are read as."""
        database = self._clients[self._uris[service]].get_database(
            self._names[service],
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
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


def _names() -> Mapping[str, str]:
    """Return the databases of the services; what else the environment has is for functions."""
    variables = {name: value for name, value in os.environ.items() if name.endswith("_DATABASE")}
    try:
        return Settings.read(variables).databases
    except WrongSettings as error:
        raise WrongUse(str(error)) from error


def _client(uri: str, by: str) -> MongoClient[Document]:
    try:
        with warnings.catch_warnings(record=True) as ignored:
            warnings.simplefilter("always")
            client: MongoClient[Document] = MongoClient(
                uri,
                appname="orders-cli",
                tz_aware=True,
                serverSelectionTimeoutMS=SELECTION_TIMEOUT_MS,
                socketTimeoutMS=READ_TIMEOUT_MS,
            )
    except (ValueError, TypeError, OSError, PyMongoError) as error:
        raise WrongUse(f"{by} is no URI of MongoDB that can be used: {error}") from error
    for each in ignored:
        note(f"{by}: {each.message}")
    return client
