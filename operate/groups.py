"""Know how far each consumer group is: who is in it, how much waits, and since when."""

import logging
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from operate.errors import NotReachable, WrongUse
from operate.topics import NoTopic, Topics, failure

_SILENT: Final = logging.getLogger("operate.librdkafka")
_NEVER_COMMITTED: Final = -1001
_SAID: Final = 50  # of what the library says while nobody looks


@dataclass(frozen=True)
class Group:
    """How far a consumer group is."""

    members: int
    """None are there when its KafkaSource is absent or not ready."""

    lag: int
    """How many records it has not acknowledged."""

    oldest: datetime | None
    """When Kafka got the first of them; None when there is none."""


class Groups:
    """The consumer groups of one Kafka; its connections stay open for the next look."""

    def __init__(self, kafka: Mapping[str, str], topics: Topics, timeout_s: float) -> None:
        """Open a client; nothing is asked yet. Raises WrongUse for a configuration that cannot be used."""
        self._topics = topics
        self._timeout_s = timeout_s
        self._said: deque[KafkaError] = deque(maxlen=_SAID)
        config: dict[str, Any] = {"socket.timeout.ms": int(timeout_s * 1000), "error_cb": self._said.append}
        try:
            self._admin = AdminClient({**kafka, **config}, logger=_SILENT)
        except (KafkaException, TypeError, ValueError) as error:
            raise WrongUse(f"the configuration for Kafka cannot be used: {error}") from error

    def look(self, groups: Mapping[str, str], if_there: Collection[str] = ()) -> dict[str, Group]:
        """Return how far groups, each with its topic, are. Raises NotReachable, and NoTopic for one that is not there.

        Whether a group's lag is old is asked of the records themselves, one for each partition that has any left. Of
        those that need not be there only who has a member is told of.
        """
        self._said.clear()  # of an outage that is over
        try:
            members = self._members(list(groups))
            groups = {name: topic for name, topic in groups.items() if members[name] or name not in if_there}
            ends = self._ends(groups.values())
            left = {group: self._left(group, topic, ends) for group, topic in groups.items()}
        except KafkaException as error:
            self._admin.poll(0)  # what the library has to say waits there
            raise NotReachable(failure(error, self._said)) from error
        found = {}
        for group, starts in left.items():
            lag = sum(ends[place.topic, place.partition][1] - place.offset for place in starts)
            found[group] = Group(members[group], lag, self._oldest(starts))
        return found

    def _members(self, groups: Sequence[str]) -> dict[str, int]:
        asked = self._admin.describe_consumer_groups(list(groups), request_timeout=self._timeout_s)
        return {group: len(described.result().members) for group, described in asked.items()}

    def _ends(self, topics: Any) -> dict[tuple[str, int], tuple[int, int]]:
        """Return the first offset of each partition, and the one behind its last record."""
        known = self._admin.list_topics(timeout=self._timeout_s).topics
        for topic in topics:
            if topic not in known or not known[topic].partitions:
                raise NoTopic(f"Kafka has no topic {topic!r}")
        places = [TopicPartition(topic, partition) for topic in set(topics) for partition in known[topic].partitions]
        found: dict[tuple[str, int], list[int]] = {}
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
            asked = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=self._timeout_s)
            for place, offset in asked.items():
                found.setdefault((place.topic, place.partition), []).append(offset.result().offset)
        return {place: (first, last) for place, (first, last) in found.items()}

    def _left(self, group: str, topic: str, ends: Mapping[tuple[str, int], tuple[int, int]]) -> list[TopicPartition]:
        """Return where a group would go on, in the partitions that hold more."""
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=self._timeout_s
        )
        committed = {
            (place.topic, place.partition): place.offset
            for place in asked[group].result().topic_partitions
            if place.offset != _NEVER_COMMITTED
        }
        starts = []
        for place, (first, last) in ends.items():
            start = max(committed.get(place, first), first)  # what retention took away waits for nobody
            if place[0] == topic and start < last:
                starts.append(TopicPartition(*place, start))
        return starts

    def _oldest(self, starts: Sequence[TopicPartition]) -> datetime | None:
        times = [message.timestamp()[1] for message in self._topics.first_at(starts)]
        return datetime.fromtimestamp(min(times) / 1000, UTC) if times else None
