"""Reach the three databases for a command that somebody runs, wherever each of them is."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from pymongo import AsyncMongoClient, ReadPreference
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from shop.process import process
from shop.state import SERVICES
from shop.store.client import Document

APPLICATION = "shop.setup"
"""The name of these connections at MongoDB; those of a function have its name."""

_AUTHENTICATION_FAILED = 18


Connect = Callable[[str], AsyncMongoClient[Document]]


def connect(uri: str) -> AsyncMongoClient[Document]:
    """Make a client of the MongoDB at a URI."""
    return AsyncMongoClient(uri, appname=APPLICATION, tz_aware=True)


def how_to_connect() -> Connect:
    """Return what makes a client, as this process has it: `connect`, unless it was given another."""
    return connect


class Databases:
    """The databases of `orders`, `billing` and `notify`.

    All at MONGODB_URI, but for those that ORDERS_MONGODB_URI, BILLING_MONGODB_URI or NOTIFY_MONGODB_URI names.
    """

    def __init__(self) -> None:
        told = process.current().settings
        self._uris = {service: told.mongodb_uris.get(service, told.mongodb_uri) for service in SERVICES}
        connects = process.current().once(how_to_connect)
        self._clients = {uri: connects(uri) for uri in set(self._uris.values())}

    def client(self, service: str) -> AsyncMongoClient[Document]:
        """Return the client of a service's MongoDB; services at one URI share it."""
        return self._clients[self._uris[service]]

    async def takes(self, service: str, user: str, password: str) -> bool:
        """Tell whether a user of a service's database can log in with a password."""
        name = process.current().settings.databases[service]
        async with AsyncMongoClient[Document](
            self._uris[service],
            appname=APPLICATION,
            username=user,
            password=password,
            authSource=name,
            authMechanism="SCRAM-SHA-256",
        ) as client:
            try:
                await client[name].command("ping")
            except OperationFailure as error:
                if error.code == _AUTHENTICATION_FAILED:
                    return False
                raise
        return True

    def __getitem__(self, service: str) -> AsyncDatabase[Document]:
        """Return a service's database; majority and journal are set, whatever the URI says."""
        return self.client(service).get_database(
            process.current().settings.databases[service],
            write_concern=WriteConcern(w="majority", j=True),
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        for client in self._clients.values():
            await client.close()
