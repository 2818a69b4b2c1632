"""A real Kafka and the stand-ins for KafkaSource and KafkaSink, for tests.

A folder of tests gets the broker by a line of its conftest, `from tests.local.kafka_fixtures import kafka as kafka`. It
is one per session, hence one per worker under pytest-xdist.
"""

import asyncio
import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from local.servers.child import die_with_parent
from local.servers.kafka import Kafka, client
from local.stand_ins.librdkafka import SILENT
from wire.login import PROPERTIES

READY_TIMEOUT_S = 60


@pytest.fixture(scope="session")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kafka]:
    """Run a real Kafka on a free port."""
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    await broker.start()
    yield broker
    await broker.stop()


class StandIn:
    """`python -m local.<module>` with a configuration, from its ready line to its end; `log` holds its lines."""

    def __init__(
        self, module: str, config: dict[str, Any], folder: Path, login: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._environment = {name: value for name, value in os.environ.items() if name not in PROPERTIES} | login
        self.log = folder / f"{module}.log"
        self._module = module
        self._config = folder / f"{module}.json"
        self._config.write_text(json.dumps(config))
        self._process: asyncio.subprocess.Process | None = None
        self.ready_line = ""

    async def start(self, *, ready: bool = True) -> Self:
        """Start the process and, unless told otherwise, wait for its ready line."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"local.stand_ins.{self._module}",
                str(self._config),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        if ready:
            await self.wait_ready()
        return self

    async def wait_ready(self) -> None:
        """Wait for the ready line."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), READY_TIMEOUT_S)
        assert b" ready " in line, self.log.read_text()
        self.ready_line = line.decode().strip()

    @property
    def url(self) -> str:
        """The base URL of a KafkaSink receiver."""
        return self.ready_line.rpartition(" ")[2]

    async def end(self, signum: int = signal.SIGTERM) -> int:
        """Send a signal, wait, and return the exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signum)
        return await asyncio.wait_for(self._process.wait(), 30)


async def wait_until(condition: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until a condition holds; those on other processes have no event to wait for."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def stored(kafka: Kafka, topics: list[str]) -> dict[str, list[Message]]:
    """Read all records that topics hold now, by topic."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False}
    )
    records: dict[str, list[Message]] = {topic: [] for topic in topics}
    starts, left = [], 0
    for topic in topics:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            starts.append(TopicPartition(topic, partition, low))
            left += high - low
    consumer.assign(starts)
    while left:
        batch = consumer.consume(min(left, 500), timeout=10)
        assert batch, f"{left} records could not be read"
        for record in batch:
            assert record.error() is None, record.error()
            records[record.topic()].append(record)
        left -= len(batch)
    consumer.close()
    return records


async def committed(kafka: Kafka, group: str) -> dict[int, int]:
    """Return what a group of one topic has committed, by partition."""
    asked = _admin(kafka.bootstrap_servers).list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    answer = await asyncio.wrap_future(asked[group])
    return {place.partition: place.offset for place in answer.topic_partitions}


@functools.cache
def _admin(bootstrap_servers: str) -> AdminClient:
    return client(bootstrap_servers)


def producer(kafka: Kafka) -> Producer:
    """Return a producer whose records keep their order."""
    return Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True, "linger.ms": 0}, logger=SILENT
    )
