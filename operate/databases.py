"""Read the three databases: always what a majority holds, from the primary, and never a write.

Repair goes the way of every order, through the events; a tool that could write would be one more way to be wrong. What
people did is recorded, in a collection of its own: `operate.actions` says how.
"""

import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Self

from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import InvalidName, PyMongoError
from pymongo.read_concern import ReadConcern

from operate.errors import WrongUse
from operate.places import Address

Document = dict[str, Any]

SELECTION_TIMEOUT_MS: Final = 5_000
"""How long to look for a primary; a failover takes longer, and whoever waits for the command should hear of it."""

_READ_TIMEOUT_MS: Final = 60_000  # the longest wait for one batch of documents


class Databases:
    """The databases of `orders`, `billing` and `notify`, wherever each is."""

    def __init__(
        self,
        addresses: Mapping[str, Address],
        names: Mapping[str, Address],
        *,
        selection_timeout_ms: int = SELECTION_TIMEOUT_MS,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Open the clients; nothing is asked yet. Raises WrongUse for a URI or a name that cannot be one.

        Args:
            addresses: the MongoDB of each service.
            names: the databases that are not called like their service.
            selection_timeout_ms: how long to look for a primary.
            tell: told of what is ignored in a URI.

        """
        self._clients: dict[str, MongoClient[Document]] = {}
        self._databases: dict[str, Database[Document]] = {}
        try:
            for service, address in addresses.items():
                if address.at not in self._clients:
                    self._clients[address.at] = _client(address, selection_timeout_ms, tell)
                name = names.get(service, Address(service, ""))
                self._databases[service] = _database(self._clients[address.at], name)
        except WrongUse:
            self.close()
            raise

    def collection(self, service: str, name: str, options: CodecOptions[Any] | None = None) -> Collection[Any]:
        """Return a collection; options say what its documents are read as."""
        return self._databases[service].get_collection(name, codec_options=options)

    def now(self) -> datetime:
        """Return the time by the clock of the `orders` database, the one that resend goes by."""
        orders = self._databases["orders"].client
        time: datetime = orders.admin.command("hello", codec_options=orders.codec_options)["localTime"]
        return time

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _client(address: Address, selection_timeout_ms: int, tell: Callable[[str], None]) -> MongoClient[Document]:
    try:
        with warnings.catch_warnings(record=True) as ignored:
            warnings.simplefilter("always")
            client: MongoClient[Document] = MongoClient(
                address.at,
                appname="orders-cli",
                tz_aware=True,
                serverSelectionTimeoutMS=selection_timeout_ms,
                socketTimeoutMS=_READ_TIMEOUT_MS,
            )
    except (ValueError, TypeError, OSError, PyMongoError) as error:
        raise WrongUse(f"{address.by} is not a usable MongoDB URI: {error}") from error
    for each in ignored:
        tell(f"{address.by}: {each.message}")
    return client


def _database(client: MongoClient[Document], name: Address) -> Database[Document]:
    try:
        return client.get_database(
            name.at, read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
        )
    except InvalidName as error:
        raise WrongUse(f"{name.by} must be a database name: {error}") from error
