"""Topics are read as they are when the reading begins, and nothing is joined, committed or lost by it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from operate.cli.options import since_ms
from operate.errors import NotReachable, WrongUse
from operate.topics import NoTopic, Topics

KAFKA = {"bootstrap.servers": "kafka:9092"}


class Message:
    """A record, or the end of a partition."""

    def __init__(self, partition: int, offset: int, error: int | None = None) -> None:
        self._at = partition, offset
        self._error = error

    def topic(self) -> str:
        """Return its topic."""
        return "payments"

    def partition(self) -> int:
        """Return its partition."""
        return self._at[0]

    def offset(self) -> int:
        """Return its offset."""
        return self._at[1]

    def error(self) -> KafkaError | None:
        """Return what is wrong."""
        return None if self._error is None else KafkaError(self._error)


class Kafka:
    """A consumer of a topic with two partitions, which gives what a test says."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.watermarks = {0: (0, 3), 1: (5, 6)}
        self.gives: list[Message | None] = []
        self.batch: list[Message] = []
        self.times: dict[int, int] = {}
        self.acknowledged: dict[int, int] = {}
        self.assigned: list[tuple[int, int]] = []
        self.closed = 0
        self.away: KafkaException | None = None
        self.says: list[KafkaError] = []

    def __call__(self, config: dict[str, Any], **_: object) -> "Kafka":
        """Be opened."""
        self.config = config
        return self

    def list_topics(self, **_: object) -> Any:
        """Tell of the topic, and one of Kafka's own."""
        if self.away:
            raise self.away
        partitions = SimpleNamespace(partitions={0: None, 1: None})
        return SimpleNamespace(topics={"payments": partitions, "__consumer_offsets": partitions})

    def get_watermark_offsets(self, place: TopicPartition, **_: object) -> tuple[int, int]:
        """Tell the first offset, and the one after the last."""
        return self.watermarks[place.partition]

    def offsets_for_times(self, places: list[TopicPartition], **_: object) -> list[TopicPartition]:
        """Tell the first offset of a time."""
        return [TopicPartition(each.topic, each.partition, self.times.get(each.partition, -1)) for each in places]

    def committed(self, places: list[TopicPartition], **_: object) -> list[TopicPartition]:
        """Tell what the group has acknowledged."""
        return [TopicPartition(p.topic, p.partition, self.acknowledged.get(p.partition, -1001)) for p in places]

    def assign(self, places: list[TopicPartition]) -> None:
        """Note from where on is read."""
        self.assigned = [(place.partition, place.offset) for place in places]

    def poll(self, _: float) -> Message | None:
        """Give the next, and say what the library has to say."""
        for error in self.says:
            self.config["error_cb"](error)
        return self.gives.pop(0) if self.gives else None

    def consume(self, _: int, **__: object) -> list[Message]:
        """Give what else is there."""
        batch, self.batch = self.batch, []
        return batch

    def close(self) -> None:
        """Note it."""
        self.closed += 1


@pytest.fixture
def kafka() -> Kafka:
    """Return what is read from."""
    return Kafka()


def topics(kafka: Kafka, **more: str) -> Topics:
    """Return the topics that it has, read with more configuration than its address."""
    return Topics({**KAFKA, **more}, consumer=kafka)  # type: ignore[arg-type]


def places(messages: Iterator[Any]) -> list[tuple[int, int]]:
    """Return partition and offset of each record."""
    return [(message.partition(), message.offset()) for message in messages]


def test_what_was_there_is_read_and_what_comes_meanwhile_is_not(kafka: Kafka) -> None:
    """Each partition to the end that it had; gaps, which transactions and compaction leave, do not matter."""
    kafka.gives = [Message(0, 0), Message(1, 5), Message(1, 6), Message(0, 3, KafkaError._PARTITION_EOF)]
    kafka.batch = [Message(0, 1)]
    assert places(topics(kafka).read(["payments"])) == [(0, 0), (0, 1), (1, 5)]
    assert kafka.assigned == [(0, 0), (1, 5)]
    assert (kafka.gives, kafka.closed) == ([], 1)
    kafka.gives = [
        Message(1, 5),
        Message(0, 1),
        Message(0, 3),
    ]  # where the last one was is a gap, and a new one after it
    assert places(topics(kafka).read(["payments"])) == [(1, 5), (0, 1)]


def test_from_a_time_on_only_what_is_younger_is_read(kafka: Kafka) -> None:
    """A partition without anything younger is not read at all."""
    kafka.times = {0: 2}
    kafka.gives = [Message(0, 2)]
    assert places(topics(kafka).read(["payments"], since_ms(60))) == [(0, 2)]
    assert kafka.assigned == [(0, 2)]


def test_an_age_is_counted_from_now() -> None:
    """Whatever is older than Kafka's time is its beginning: a time below 0 means something else to Kafka."""
    assert since_ms(None) is None
    minute, hour = since_ms(60), since_ms(3600)
    assert minute is not None
    assert hour is not None
    assert 3_539_000 <= minute - hour <= 3_541_000
    assert since_ms(36_500 * 86_400) == 0


@pytest.mark.parametrize("mine", ["enable.auto.commit=true", "isolation.level=read_uncommitted"])
def test_no_configuration_makes_the_reading_another(kafka: Kafka, mine: str) -> None:
    """Nothing is committed, nor read that a transaction took back."""
    name, _, value = mine.partition("=")
    kafka.watermarks = {0: (0, 0), 1: (0, 0)}
    assert places(topics(kafka, **{name: value, "security.protocol": "SSL"}).read(["payments"])) == []
    wanted = {"enable.auto.commit": False, "isolation.level": "read_committed", "enable.partition.eof": True}
    assert {each: kafka.config[each] for each in wanted} == wanted
    assert (kafka.config["security.protocol"], kafka.config["bootstrap.servers"]) == ("SSL", "kafka:9092")


def test_lag_is_what_a_group_has_not_acknowledged_of_what_there_still_is(kafka: Kafka) -> None:
    """A group that never acknowledged anything is behind by all; what retention took is not waited for."""
    assert topics(kafka).lag({"billing-handler": "payments"}) == 3 + 1
    assert kafka.config["group.id"] == "billing-handler"
    kafka.acknowledged = {0: 2, 1: 3}
    assert topics(kafka).lag({"billing-handler": "payments", "b": "payments"}) == 2 * (1 + 1)
    kafka.acknowledged = {0: 3, 1: 6}
    assert topics(kafka).lag({"billing-handler": "payments"}) == 0


def test_a_topic_that_is_not_there_is_a_wrong_use(kafka: Kafka) -> None:
    """With those that are, Kafka's own left out."""
    with pytest.raises(NoTopic, match=r"no topic 'paiments'; it has payments$"):
        list(topics(kafka).read(["payments", "paiments"]))
    assert issubclass(NoTopic, WrongUse)
    assert kafka.closed == 1


def test_records_that_do_not_come_are_not_taken_for_the_end(kafka: Kafka) -> None:
    """What was there must be given, or the reading has failed."""
    kafka.gives = [Message(1, 5), None]
    with pytest.raises(NotReachable, match="gave nothing"):
        list(topics(kafka).read(["payments"]))


def test_an_error_between_records_is_told(kafka: Kafka) -> None:
    """It is no record."""
    kafka.gives = [Message(0, 0, KafkaError.TOPIC_AUTHORIZATION_FAILED)]
    with pytest.raises(NotReachable, match="Kafka does not answer"):
        list(topics(kafka).read(["payments"]))


def test_of_many_errors_the_one_that_counts_is_told(kafka: Kafka) -> None:
    """A refusal counts before a broken connection, whichever came last."""
    kafka.away = KafkaException(KafkaError(KafkaError._TRANSPORT))
    refused = KafkaError(
        KafkaError._AUTHENTICATION, "kafka:9092/bootstrap: SASL authentication failed (after 3ms in state AUTH)"
    )
    cut = KafkaError(KafkaError._TRANSPORT, "kafka:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: cut")
    down = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")

    for said, told in [
        ([refused, cut, down], "Kafka refuses: kafka:9092: SASL authentication failed"),
        ([cut, down], "Kafka does not answer: kafka:9092: cut"),
        ([down], "Kafka does not answer: "),
    ]:
        kafka.says = said
        with pytest.raises(NotReachable) as raised:
            list(topics(kafka).read(["payments"]))
        assert str(raised.value).startswith(told)
