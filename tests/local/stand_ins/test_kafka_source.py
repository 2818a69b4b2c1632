"""The KafkaSource stand-in under faults: what is redelivered, what is committed, what blocks it."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local.servers.kafka import Kafka, create_topics
from local.servers.parts import signalled
from local.stand_ins.kafka_source import Progress
from tests.local.kafka_fixtures import StandIn, committed, producer, wait_until
from tests.local.stand_ins.scripted_sink import ScriptedSink
from wire.http import Client

EVENT = {"ce_specversion": b"1.0", "ce_source": b"/shop", "ce_type": b"test"}


@pytest.fixture
async def sink(request: pytest.FixtureRequest) -> AsyncIterator[ScriptedSink]:
    """Run a sink that answers as the parameter says, 200 by default."""
    sink = ScriptedSink(getattr(request, "param", [{"status": 200}]))
    await sink.start()
    yield sink
    await sink.stop()


def source(broker: Kafka, topic: str, sink: ScriptedSink, folder: Path, **changes: Any) -> StandIn:
    """Configure a source of one topic; its group has the same name."""
    config = {
        "namespace": "shop",
        "name": "test",
        "topics": [topic],
        "consumer_group": topic,
        "consumers": 1,
        "initial_offset": "earliest",
        "ordering": "unordered",
        "delivery": {"retry": 0},
        "sink_url": f"{sink.url}/",
        "ce_overrides": {},
    }
    servers = broker.bootstrap_servers
    return StandIn("kafka_source", {"bootstrap_servers": servers, "sources": [config | changes]}, folder)


def produce(broker: Kafka, topic: str, ids: range) -> None:
    """Store an event of each id."""
    kafka_producer = producer(broker)
    for number in ids:
        kafka_producer.produce(topic, b"{}", headers=[*EVENT.items(), ("ce_id", str(number).encode())])
    assert kafka_producer.flush(30) == 0


def ids(sink: ScriptedSink) -> list[int]:
    """Return the ids of the events that arrived, in their order."""
    return [int(dict(request.headers)["ce-id"]) for request in sink.requests]


@pytest.mark.parametrize("sink", [[{"status": 200, "delay_ms": 5}]], indirect=True)
async def test_a_killed_source_delivers_again_and_loses_nothing(
    kafka: Kafka,
    sink: ScriptedSink,
    tmp_path: Path,
) -> None:
    """After SIGKILL in the middle of a stream, every event has arrived, some twice, and all are committed."""
    topic = "source-killed"
    await create_topics(kafka.bootstrap_servers, {topic: 4})
    await asyncio.to_thread(produce, kafka, topic, range(500))
    killed = source(kafka, topic, sink, tmp_path)
    await killed.start()
    await wait_until(lambda: len(sink.requests) >= 200)
    assert await killed.end(signal.SIGKILL) == -signal.SIGKILL
    before = len(sink.requests)
    again = await source(kafka, topic, sink, tmp_path).start()
    await wait_until(lambda: set(ids(sink)) == set(range(500)))
    assert len(sink.requests) - before > 500 - before, "nothing was redelivered"
    await _wait_committed(kafka, topic, 500)
    assert await again.end() == 0


async def test_sigterm_commits_nothing_and_the_next_start_goes_on_at_once(
    kafka: Kafka,
    sink: ScriptedSink,
    tmp_path: Path,
) -> None:
    """What was acknowledged since the last commit comes again, without waiting for a session to end."""
    topic = "source-terminated"
    await create_topics(kafka.bootstrap_servers, {topic: 1})
    await asyncio.to_thread(produce, kafka, topic, range(3))
    first = await source(kafka, topic, sink, tmp_path).start()
    await wait_until(lambda: len(sink.requests) == 3)
    assert await first.end() == 0
    assert await committed(kafka, topic) == {}
    second = source(kafka, topic, sink, tmp_path)
    await second.start()
    await wait_until(lambda: Counter(ids(sink)) == Counter([0, 1, 2] * 2), timeout_s=8)  # the session lasts 10 s
    await second.end()


@pytest.mark.parametrize("sink", [[{"status": 200}, {"fault": "silence"}, {"status": 200}]], indirect=True)
async def test_commits_stop_below_the_first_record_in_progress(
    kafka: Kafka,
    sink: ScriptedSink,
    tmp_path: Path,
) -> None:
    """One unanswered request keeps the commit in front of it, however many later ones are done."""
    topic = "source-contiguous"
    await create_topics(kafka.bootstrap_servers, {topic: 1})
    await asyncio.to_thread(produce, kafka, topic, range(30))
    running = await source(kafka, topic, sink, tmp_path).start()
    await wait_until(lambda: len(sink.requests) == 30)
    held = ids(sink)[1]
    await _wait_committed(kafka, topic, held)
    await running.end()


@pytest.mark.parametrize("sink", [[{"status": 422, "headers": [["Kne-Reason-Code", "x"]]}]], indirect=True)
async def test_fifty_stuck_records_stop_a_source(kafka: Kafka, sink: ScriptedSink, tmp_path: Path) -> None:
    """After 50 answers with a Kne- header that names no extension, at most one more poll's worth is ever sent."""
    topic = "source-stuck"
    await create_topics(kafka.bootstrap_servers, {topic: 1})
    await asyncio.to_thread(produce, kafka, topic, range(200))
    stuck = await source(kafka, topic, sink, tmp_path).start()
    await wait_until(lambda: stuck.log.read_text().count(" stuck ") >= 50)
    await asyncio.to_thread(produce, kafka, topic, range(200, 210))
    with pytest.raises(TimeoutError):
        await wait_until(lambda: len(sink.requests) > 99, timeout_s=3)
    assert await committed(kafka, topic) == {}
    assert await stuck.end() == 0


@pytest.mark.ci
async def test_a_restart_of_kafka_is_survived_by_source_and_sink(sink: ScriptedSink, tmp_path: Path) -> None:
    """Both start before Kafka does, work when it comes, and again when it was killed and came back."""
    broker = Kafka(tmp_path / "kafka")
    sinks = [{"namespace": "shop", "name": "in", "topic": "in", "content_mode": "binary"}]
    sink_config = {"host": "127.0.0.1", "port": 0, "bootstrap_servers": broker.bootstrap_servers, "sinks": sinks}
    receiver = await StandIn("kafka_sink", sink_config, tmp_path).start()
    running = await source(broker, "in", sink, tmp_path).start(ready=False)
    for number in range(2):
        await broker.start()
        await create_topics(broker.bootstrap_servers, {"in": 1})
        assert await _post(receiver.url, number) == 202
        await wait_until(lambda number=number: number in ids(sink), timeout_s=60)
        assert broker.process
        await signalled(broker.process, signal.SIGKILL)
    assert await running.end() == 0
    assert await receiver.end() == 0


async def test_latest_begins_with_what_comes_after_the_start(
    kafka: Kafka,
    sink: ScriptedSink,
    tmp_path: Path,
) -> None:
    """A new group with initial offset latest gets nothing older, and nothing newer is missed."""
    topic = "source-latest"
    await create_topics(kafka.bootstrap_servers, {topic: 2})
    await asyncio.to_thread(produce, kafka, topic, range(5))
    running = await source(kafka, topic, sink, tmp_path, initial_offset="latest").start()
    await asyncio.to_thread(produce, kafka, topic, range(5, 10))
    await wait_until(lambda: len(sink.requests) >= 5)
    assert sorted(ids(sink)) == [5, 6, 7, 8, 9]
    await running.end()


@pytest.mark.parametrize("sink", [[{"status": 422, "body_b64": "bm8="}]], indirect=True)
async def test_a_lost_record_is_told_in_the_log(kafka: Kafka, sink: ScriptedSink, tmp_path: Path) -> None:
    """Without dead letters, one line names the record that was dropped, and why."""
    topic = "source-lost"
    await create_topics(kafka.bootstrap_servers, {topic: 1})
    await asyncio.to_thread(produce, kafka, topic, range(1))
    running = await source(kafka, topic, sink, tmp_path).start()
    await wait_until(lambda: " lost " in running.log.read_text())
    line = next(line for line in running.log.read_text().splitlines() if " lost " in line)
    assert f'source=shop/test topic={topic} partition=0 offset=0 id="0" type="test"' in line
    assert 'attempts=1 reason="answer 422" dead_letters=none' in line
    assert 'not-taken source=shop/test id="0" try=1 reason="answer 422: no"' in running.log.read_text()
    await running.end()


async def test_overrides_replace_attributes(kafka: Kafka, sink: ScriptedSink, tmp_path: Path) -> None:
    """CeOverrides are added to every event, above what it says and what the source adds."""
    topic = "source-overrides"
    await create_topics(kafka.bootstrap_servers, {topic: 1})
    await asyncio.to_thread(produce, kafka, topic, range(1))
    overrides = {"shop": "one", "knativekafkaoffset": "none"}
    running = await source(kafka, topic, sink, tmp_path, ce_overrides=overrides).start()
    await wait_until(lambda: sink.requests)
    headers = dict(sink.requests[0].headers)
    assert (headers["ce-shop"], headers["ce-knativekafkaoffset"]) == ("one", "none")
    await running.end()


async def test_a_null_header_takes_the_plain_records_of_its_poll_along(
    kafka: Kafka, sink: ScriptedSink, tmp_path: Path
) -> None:
    """Records that would be wrapped are lost with the one that cannot be; an event between them is delivered."""
    topic = "source-null-header"
    await create_topics(kafka.bootstrap_servers, {topic: 1})
    kafka_producer = producer(kafka)
    for headers in ([], [("x", None)], [*EVENT.items(), ("ce_id", b"7")], []):
        kafka_producer.produce(topic, b"{}", headers=headers)
    assert kafka_producer.flush(30) == 0
    running = await source(kafka, topic, sink, tmp_path).start()
    await _wait_committed(kafka, topic, 4)
    assert ids(sink) == [7]
    assert running.log.read_text().count(" lost ") == 3
    await running.end()


def test_progress_commits_only_what_is_contiguous() -> None:
    """The offset to commit is the lowest that is not done; offsets that never came do not hold it."""
    progress = Progress(committed=7)
    for offset in (7, 8, 11):
        progress.receive(offset)
    progress.done(8)
    assert progress.committable == 7
    progress.done(7)
    assert progress.committable == 11
    progress.done(11)
    assert progress.committable == 12


async def _wait_committed(broker: Kafka, topic: str, total: int) -> None:
    """Wait until the group's offsets, which start at 0, add up; they are committed every 5 s."""
    async with asyncio.timeout(30):
        while sum((await committed(broker, topic)).values()) != total:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def _post(url: str, number: int) -> int:
    """POST an event to the KafkaSink; return the status."""
    headers = [(name.replace("_", "-"), value) for name, value in EVENT.items()]
    client = Client(f"{url}/shop/in", 30)
    response = await client.post([*headers, ("ce-id", str(number).encode())], b"{}")
    client.close()
    return response.status
