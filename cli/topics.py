"""Read what topics hold now, from a time on, without joining a group or committing anything."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from cli.output import NotReachable

CONNECT_TIMEOUT_S: Final = 5.0
TIMEOUT_S: Final = 10.0
_BATCH: Final = 1000
_log = logging.getLogger(__name__)


def read(kafka: Mapping[str, str], topics: Sequence[str], since_ms: int | None = None) -> Iterator[Message]:
    """Yield the records that the topics held when the call began, each partition in its order.

    Raises NotReachable for a topic that does not exist, KafkaException when Kafka does not answer.
    """
    consumer = _consumer(kafka)
    try:
        left: dict[tuple[str, int], int] = {}  # the first offset that is not read any more
        starts = []
        for place in _partitions(consumer, topics):
            low, high = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
            start = low if since_ms is None else _offset_at(consumer, place, since_ms, high)
            if start < high:
                left[place.topic, place.partition] = high
                starts.append(TopicPartition(place.topic, place.partition, start))
        if starts:
            consumer.assign(starts)
        while left:
            first = consumer.poll(TIMEOUT_S)
            if first is None:
                raise NotReachable(f"Kafka gave nothing within {TIMEOUT_S:.0f} s, though {sorted(left)} hold more")
            for message in [first, *consumer.consume(_BATCH, timeout=0)]:
                yield from _next(message, left)
    finally:
        consumer.close()


def _next(message: Message, left: dict[tuple[str, int], int]) -> Iterator[Message]:
    """Yield a record that was there when the reading began, and note which partitions have been read to their end."""
    place = (message.topic() or "", message.partition() or 0)
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    if place not in left:
        return
    offset = message.offset() or 0
    if error is None and offset < left[place]:
        yield message
    if offset + 1 >= left[place]:  # at the end of a partition its error names the next offset: gaps do not matter
        del left[place]


def lag(kafka: Mapping[str, str], groups: Mapping[str, str]) -> int:
    """Return how many records consumer groups, each with its topic, have not yet acknowledged."""
    behind = 0
    for group, topic in groups.items():
        consumer = _consumer({**kafka, "group.id": group})
        try:
            for place in consumer.committed(_partitions(consumer, [topic]), timeout=TIMEOUT_S):
                low, high = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
                behind += high - max(place.offset, low)
        finally:
            consumer.close()
    return behind


def _consumer(kafka: Mapping[str, Any]) -> Consumer:
    config = {
        "group.id": "orders-cli",  # librdkafka wants one; nothing is ever joined or committed
        **kafka,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    return Consumer(config, logger=_log)


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[TopicPartition]:
    known = consumer.list_topics(timeout=CONNECT_TIMEOUT_S).topics
    for topic in topics:
        if topic not in known:
            raise NotReachable(f"Kafka has no topic {topic!r}; it has {', '.join(sorted(known)) or 'none'}")
    return [TopicPartition(topic, partition) for topic in topics for partition in sorted(known[topic].partitions)]


def _offset_at(consumer: Consumer, place: TopicPartition, time_ms: int, high: int) -> int:
    (found,) = consumer.offsets_for_times([TopicPartition(place.topic, place.partition, time_ms)], timeout=TIMEOUT_S)
    return int(found.offset) if found.offset >= 0 else high
