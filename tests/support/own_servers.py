"""Run tests on a MongoDB and a Kafka of one's own: `make test MONGODB_URI=... KAFKA_BOOTSTRAP_SERVERS=...`.

A Kafka that demands a login: by the variables of `wire.login`, as in `make run`.

Databases, topics and groups have names of this run, and are removed at its end; nothing else is touched. A test that
needs a server for itself, to end it, to freeze it or to make it fail, is skipped and says so. A server that holds
the shop's own databases or topics is refused, unless OWN_SERVERS_IN_USE=1 says that this is known.
"""

import asyncio
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import pymongo
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from pymongo.errors import PyMongoError

from local.manifests import Patch, read
from local.servers.kafka import Kafka, client
from local.servers.mongodb import Mongod
from local.settings import Settings
from operate.topics import failure
from shop.state import SERVICES
from wire.login import LoginError, checked, login

MONGODB, KAFKA = "OWN_MONGODB_URI", "OWN_KAFKA_BOOTSTRAP_SERVERS"
_IN_USE = "OWN_SERVERS_IN_USE"
_RUN = "OWN_SERVERS_RUN"
_ANSWERS_WITHIN_S = 10


@dataclass(frozen=True)
class OwnServers:
    """The servers that a run was given, and the names that it has there."""

    mongodb_uri: str | None
    kafka_bootstrap_servers: str | None
    run: str
    kafka_login: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str], worker: str = "") -> "OwnServers":
        """Read them; with pytest-xdist each worker has names of its own."""
        run = f"tests-{environment.get(_RUN, '')}{worker}"
        kafka = environment.get(KAFKA) or None
        return cls(environment.get(MONGODB) or None, kafka, run, checked(environment) if kafka else {})

    def __bool__(self) -> bool:
        return bool(self.mongodb_uri or self.kafka_bootstrap_servers)

    @property
    def names(self) -> dict[str, str]:
        """The databases of the services."""
        return {each: f"{self.run}-{each}" if self.mongodb_uri else each for each in SERVICES}

    @property
    def databases(self) -> dict[str, str]:
        """The variables that name them to a process."""
        return {f"{each.upper()}_DATABASE": name for each, name in self.names.items() if self.mongodb_uri}

    def settings(self, settings: Settings) -> Settings:
        """Return settings of a stack, on these servers."""
        return replace(
            settings,
            mongodb_uri=self.mongodb_uri,
            kafka_bootstrap_servers=self.kafka_bootstrap_servers,
            kafka_login=self.kafka_login,
            databases=self.databases,
        )

    def patches(self) -> Iterator[Patch]:
        """Yield what gives the topics and groups of a stack names of this run."""
        if self.kafka_bootstrap_servers is None:
            return
        manifests = read(Settings.manifests)
        for sink in manifests.sinks:
            yield Patch("KafkaSink", sink.name, "/spec/topic", f"{self.run}-{sink.topic}")
        for source in manifests.sources:
            topics = [f"{self.run}-{topic}" for topic in source.topics]
            yield Patch("KafkaSource", source.name, "/spec/topics", topics)
            yield Patch("KafkaSource", source.name, "/spec/consumerGroup", f"{self.run}-{source.consumer_group}")
        for topic in manifests.topics:
            yield Patch("KafkaTopic", topic.name, "/spec/topicName", f"{self.run}-{topic.name}")

    # --- before and after --------------------------------------------------------------------------------------------

    def look(self) -> str:
        """Return what they are, in a line; raise RuntimeError when the tests cannot run on them."""
        said = []
        taken = set()
        if self.mongodb_uri is not None:
            with self._mongodb() as mongodb:
                if "setName" not in mongodb.admin.command("hello"):
                    raise RuntimeError("this MongoDB is not a replica set")
                said.append(f"MongoDB {mongodb.server_info()['version']}")
                taken |= set(SERVICES) & set(mongodb.list_database_names())
        if self.kafka_bootstrap_servers is not None:
            said.append("Kafka")
            taken |= {topic.name for topic in read(Settings.manifests).topics} & self._topics()
        if taken and os.environ.get(_IN_USE) != "1":
            raise RuntimeError(
                f"a shop is in use there: it has {', '.join(sorted(taken))}. The tests touch none of it, but they load "
                f"the servers; say so: {_IN_USE}=1"
            )
        return f"on {' and '.join(said)}, in databases and topics {self.run}-*"

    def remove(self) -> None:
        """Remove what has a name of this run."""
        if self.mongodb_uri is not None:
            with self._mongodb() as mongodb:
                for name in set(self.names.values()) & set(mongodb.list_database_names()):
                    mongodb.drop_database(name)
        if self.kafka_bootstrap_servers is not None:
            admin = self._kafka()
            groups = [each.group_id for each in admin.list_consumer_groups().result().valid]
            for removed in (
                *_futures(admin.delete_consumer_groups, [each for each in groups if each.startswith(f"{self.run}-")]),
                *_futures(
                    admin.delete_topics,
                    [each for each in admin.list_topics(timeout=10).topics if each.startswith(f"{self.run}-")],
                ),
            ):
                removed.result()

    def _topics(self) -> set[str]:
        told: list[KafkaError] = []
        admin = self._kafka(error_cb=told.append)
        try:
            return set(admin.list_topics(timeout=_ANSWERS_WITHIN_S).topics)
        except KafkaException as error:
            admin.poll(0)  # what the library has to say waits there
            raise RuntimeError(failure(error, told)) from error

    def _kafka(self, **settings: Any) -> AdminClient:
        return client(self.kafka_bootstrap_servers or "", {**login(self.kafka_login), **settings})

    def _mongodb(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.mongodb_uri, serverSelectionTimeoutMS=_ANSWERS_WITHIN_S * 1000)


def _futures(remove: Any, names: list[str]) -> list[Any]:
    return list(remove(names).values()) if names else []


def given() -> OwnServers:
    """Return the servers of this process."""
    return OwnServers.of(os.environ, os.environ.get("PYTEST_XDIST_WORKER", ""))


def pytest_configure(config: pytest.Config) -> None:
    """Look at the servers once, and have this process use them."""
    try:
        if not given():
            return
    except LoginError as error:
        pytest.exit(f"The tests do not run there: {error}", returncode=2)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ[_RUN] = uuid.uuid4().hex[:8]
        try:
            print(given().look())  # noqa: T201 - before pytest says anything
        except (RuntimeError, ValueError, PyMongoError, KafkaException) as error:
            del os.environ[_RUN]  # nothing was made
            pytest.exit(f"The tests do not run there: {error}", returncode=2)
    os.environ.update(given().databases)
    if given().mongodb_uri:
        Mongod.start = _skipping("mongod")  # type: ignore[method-assign]
    if given().kafka_bootstrap_servers:
        Kafka.start = _skipping("Kafka")  # type: ignore[method-assign]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what this process made there."""
    if given() and _RUN in os.environ:
        given().remove()


def _skipping(server: str) -> Any:
    async def start(_: object) -> NoReturn:
        await asyncio.sleep(0)
        pytest.skip(f"needs a {server} of its own, to end it or to make it fail")

    return start
