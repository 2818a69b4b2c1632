"""The topics as a bystander sees them, and as one who sends everything again."""

import asyncio
import heapq
import random
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from local.servers.kafka import client
from local.stand_ins.librdkafka import SILENT
from shop.messages import event_id, happened_at, rfc3339
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from tests.support.functions import FUNCTIONS

PAYMENTS, RESULTS, DEAD_LETTERS = "payments", "results", "dead-letters"

_AGAIN = "again"  # marks our repetitions, so that they are not repeated; KafkaSource passes only ce_ headers on
_LATEST_S = 1.0  # how late a repetition may come: by then most orders are settled


@dataclass(frozen=True)
class Record:
    """A record of a topic, with its headers as text."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str]

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Copy what Kafka gave."""
        headers: list[tuple[str, bytes | None]] = message.headers() or []  # type: ignore[assignment]  # never a dict
        texts = {name: (value or b"").decode() for name, value in headers}
        return cls(message.topic() or "", message.key(), message.value(), texts)

    @property
    def id(self) -> str:
        """The id of the event; empty when it is none."""
        return self.headers.get("ce_id", "")

    @property
    def is_repetition(self) -> bool:
        """Whether it was us who sent it."""
        return _AGAIN in self.headers


def record_of(event: PaymentRequested | PaymentDecided) -> Record:
    """Return the record that a function's emission of this event leads to."""
    requested = isinstance(event, PaymentRequested)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event_id(event),
        "ce_type": event.DESCRIPTOR.full_name,
        "ce_source": "/orders" if requested else "/billing",
        "ce_subject": event.basket,
        "ce_time": rfc3339(happened_at(event)),
        "content-type": "application/protobuf",
    }
    topic = PAYMENTS if requested else RESULTS
    return Record(topic, event.user.encode(), event.SerializeToString(deterministic=True), headers)


class Topics:
    """Follows the three topics from their beginning, and sends each payment and result again: at once, or late.

    So whatever runs while this does has every event delivered twice, concurrently, late and out of order.
    """

    def __init__(self, bootstrap_servers: str, seed: int = 0) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._random = random.Random(seed)
        self._records: dict[str, list[Record]] = {PAYMENTS: [], RESULTS: [], DEAD_LETTERS: []}
        self._due: list[tuple[float, int, Record]] = []
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "linger.ms": 0}, logger=SILENT
        )
        self._stopping = threading.Event()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        self._following = asyncio.create_task(asyncio.to_thread(self._follow))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End; a failure of the following thread is raised here."""
        self._stopping.set()
        assert self._following is not None
        await self._following

    def records(self, topic: str, id_: str | None = None) -> list[Record]:
        """Return what the topic holds, as far as it was followed; of one event id, when it is given.

        Raises what ended the following, if anything did: whoever waits for a record would wait in vain.
        """
        if self._following is not None and self._following.done():
            self._following.result()
        return [record for record in list(self._records[topic]) if id_ is None or record.id == id_]

    def emissions(self, topic: str, id_: str) -> list[Record]:
        """Return what functions emitted under this id, our repetitions apart."""
        return [record for record in self.records(topic, id_) if not record.is_repetition]

    def send(self, *records: Record) -> None:
        """Send records; those of a partition arrive in this order."""
        for record in records:
            self._producer.produce(record.topic, key=record.key, value=record.value, headers=dict(record.headers))

    def replay(self, records: Iterable[Record]) -> None:
        """Send records again, shuffled."""
        shuffled = list(records)
        self._random.shuffle(shuffled)
        self.send(*(_again(record) for record in shuffled))

    async def consumed(self, *groups: str) -> bool:
        """Whether these consumer groups have committed all there is, and all that we are about to send."""
        if self._due or len(self._producer):
            return False
        try:
            return all([await asyncio.to_thread(self._lag, group) == 0 for group in groups])
        except KafkaException:  # Kafka is away, and nobody knows
            return False

    def expire(self, topic: str, keep: int = 0) -> None:
        """Delete records as retention does, but the last `keep` of each partition."""
        consumer = self._consumer("bystander")
        try:
            ends = [
                TopicPartition(place.topic, place.partition, max(low, high - keep))
                for place, (low, high) in _watermarks(consumer, topic)
            ]
        finally:
            consumer.close()
        admin = client(self._bootstrap_servers)  # its futures need it alive
        for deleted in admin.delete_records(ends).values():
            deleted.result(timeout=30)

    def rewind(self, group: str) -> None:
        """Set a consumer group, which must have no members, back to the beginning of its topic."""
        consumer = self._consumer(group)
        try:
            starts = [
                TopicPartition(place.topic, place.partition, low)
                for place, (low, _) in _watermarks(consumer, _topic_of(group))
            ]
        finally:
            consumer.close()
        admin = client(self._bootstrap_servers)
        wanted = [ConsumerGroupTopicPartitions(group, starts)]
        admin.alter_consumer_group_offsets(wanted)[group].result(timeout=30)

    def _lag(self, group: str) -> int:
        consumer = self._consumer(group)  # it never joins the group
        try:
            marks = _watermarks(consumer, _topic_of(group))
            committed = consumer.committed([place for place, _ in marks], timeout=5)
        finally:
            consumer.close()
        return sum(high - max(low, done.offset) for (_, (low, high)), done in zip(marks, committed, strict=True))

    def _consumer(self, group: str) -> Consumer:
        config = {
            "bootstrap.servers": self._bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "reconnect.backoff.max.ms": 1_000,
        }
        return Consumer(config, logger=SILENT)

    def _follow(self) -> None:
        consumer = self._consumer("bystander")
        places = [place for topic in self._records for place in _places(consumer, topic)]
        consumer.assign([TopicPartition(place.topic, place.partition, OFFSET_BEGINNING) for place in places])
        while not self._stopping.is_set():
            for message in consumer.consume(500, timeout=0.02):
                if message.error() is None:
                    self._note(Record.from_message(message))
            self._repeat_what_is_due()
            self._producer.poll(0)
        consumer.close()

    def _note(self, record: Record) -> None:
        self._records[record.topic].append(record)
        if record.topic != DEAD_LETTERS and not record.is_repetition:
            delay_s = self._random.choice([0.0, self._random.uniform(0, _LATEST_S)])
            heapq.heappush(self._due, (time.monotonic() + delay_s, self._random.getrandbits(62), _again(record)))

    def _repeat_what_is_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            self.send(heapq.heappop(self._due)[2])


def _again(record: Record) -> Record:
    return Record(record.topic, record.key, record.value, {**record.headers, _AGAIN: "1"})


def _places(consumer: Consumer, topic: str) -> list[TopicPartition]:
    """Return a topic's partitions; while a test has Kafka stopped, it is asked again, for a minute."""
    until = time.monotonic() + 60
    while True:
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        except KafkaException:
            if time.monotonic() > until:
                raise
        else:
            return [TopicPartition(topic, partition) for partition in partitions]


def _watermarks(consumer: Consumer, topic: str) -> list[tuple[TopicPartition, tuple[int, int]]]:
    """Return each partition with the offsets of its first record and behind its last one."""
    return [(place, consumer.get_watermark_offsets(place, timeout=10)) for place in _places(consumer, topic)]


def _topic_of(group: str) -> str:
    return FUNCTIONS[group.replace("-", "_")].topic
