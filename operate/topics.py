"""Read what topics hold now, from a time on, without joining a group or committing anything."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from operate.errors import NotReachable, WrongUse

CONNECT_TIMEOUT_S: Final = 5.0

_TIMEOUT_S: Final = 10.0
_BATCH: Final = 1000
_AWAY: Final = (KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)
_NOISE: Final = re.compile(
    r"/bootstrap(?=: )|Connect to \S+ failed: | \(after \d+ms in state [^)]*\)|, \d+ identical.*"
)

_SILENT: Final = logging.getLogger("operate.librdkafka")  # what the library writes would go to stderr, line by line
_SILENT.setLevel(logging.CRITICAL)


class NoTopic(WrongUse):
    """Kafka has no topic of this name."""


class Topics:
    """The topics of one Kafka.

    What it raises: NotReachable, WrongUse for a configuration that cannot be used, and NoTopic.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        consumer: Callable[..., Consumer] = Consumer,
    ) -> None:
        """Take the configuration of a librdkafka client; nothing is asked yet."""
        self._kafka = kafka
        self._connect_timeout_s = connect_timeout_s
        self._new_consumer = consumer

    def read(self, topics: Sequence[str], since_ms: int | None = None, *, last: int | None = None) -> Iterator[Message]:
        """Yield the records that the topics held when the call began, each partition in its order.

        Of a partition that holds more than the `last` so many, the older ones are left out.
        """
        with self._consumer() as consumer:
            left: dict[tuple[str, int], int] = {}  # the first offset that is not read any more
            starts = []
            for place in self._partitions(consumer, topics):
                low, high = consumer.get_watermark_offsets(place, timeout=_TIMEOUT_S)
                start = low if since_ms is None else _offset_at(consumer, place, since_ms, high)
                if last is not None:
                    start = max(start, high - last)
                if start < high:
                    left[place.topic, place.partition] = high
                    starts.append(TopicPartition(place.topic, place.partition, start))
            if starts:
                consumer.assign(starts)
            while left:
                first = consumer.poll(_TIMEOUT_S)
                if first is None:
                    raise NotReachable(f"Kafka gave nothing within {_TIMEOUT_S:.0f} s, though {sorted(left)} hold more")
                for message in [first, *consumer.consume(_BATCH, timeout=0)]:
                    yield from _next(message, left)

    def first_at(self, starts: Sequence[TopicPartition]) -> Iterator[Message]:
        """Yield the first record at or behind each of these places, as far as they come soon."""
        left = {(place.topic, place.partition) for place in starts}
        if not left:
            return
        with self._consumer() as consumer:
            consumer.assign(list(starts))
            while left and (message := consumer.poll(self._connect_timeout_s)) is not None:
                place = (message.topic() or "", message.partition() or 0)
                if place in left:
                    left.discard(place)
                    if message.error() is None:
                        yield message

    def lag(self, groups: Mapping[str, str]) -> int:
        """Return how many records consumer groups, each with its topic, have not yet acknowledged."""
        behind = 0
        for group, topic in groups.items():
            with self._consumer(group) as consumer:
                for place in consumer.committed(self._partitions(consumer, [topic]), timeout=_TIMEOUT_S):
                    low, high = consumer.get_watermark_offsets(place, timeout=_TIMEOUT_S)
                    behind += high - max(place.offset, low)
        return behind

    @contextmanager
    def _consumer(self, group: str | None = None) -> Iterator[Consumer]:
        """Open a consumer. What Kafka's library writes is dropped, but for the reason of what fails: that is told."""
        said: list[KafkaError] = []
        config: dict[str, Any] = {
            "group.id": "orders-cli",  # librdkafka wants one; nothing is ever joined or committed
            **self._kafka,
            **({} if group is None else {"group.id": group}),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "error_cb": said.append,
        }
        try:
            consumer = self._new_consumer(config, logger=_SILENT)
        except (KafkaException, TypeError, ValueError) as error:
            raise WrongUse(f"the configuration for Kafka cannot be used: {_text(error)}") from error
        try:
            yield consumer
        except KafkaException as error:
            consumer.poll(0)  # what the library has to say waits there
            raise NotReachable(failure(error, said)) from error
        finally:
            consumer.close()

    def _partitions(self, consumer: Consumer, topics: Sequence[str]) -> list[TopicPartition]:
        known = consumer.list_topics(timeout=self._connect_timeout_s).topics
        for topic in topics:
            if topic not in known:
                ours = sorted(name for name in known if not name.startswith("__"))  # those are Kafka's own
                raise NoTopic(f"Kafka has no topic {topic!r}; it has {', '.join(ours) or 'none'}")
        return [TopicPartition(topic, partition) for topic in topics for partition in sorted(known[topic].partitions)]


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


def failure(error: KafkaException, said: Sequence[KafkaError]) -> str:
    """Say why Kafka cannot be asked: a refusal before a connection that failed, and what failed last."""
    refusals = [each for each in said if each.code() not in _AWAY]
    reasons = refusals or [each for each in said if each.code() != KafkaError._ALL_BROKERS_DOWN]
    verb = "refuses" if refusals else "does not answer"
    return f"Kafka {verb}: {_NOISE.sub('', reasons[-1].str()) if reasons else _text(error)}"


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return str(first.str() if isinstance(first, KafkaError) else first)


def _offset_at(consumer: Consumer, place: TopicPartition, time_ms: int, high: int) -> int:
    (found,) = consumer.offsets_for_times([TopicPartition(place.topic, place.partition, time_ms)], timeout=_TIMEOUT_S)
    return int(found.offset) if found.offset >= 0 else high
