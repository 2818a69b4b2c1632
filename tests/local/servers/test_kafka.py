"""A real Kafka as a child process: what a second start, a crash and a failure leave."""

import asyncio
import os
import selectors
import signal
import socket
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from local.servers.kafka import Kafka, client, create_topics
from local.servers.locked_jars import JARS, ensure_jars
from local.servers.parts import PartFailedError, signalled
from tests.local.kafka_fixtures import stored


@pytest.mark.parametrize("end", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
async def test_a_second_start_finds_every_acknowledged_record(end: signal.Signals, tmp_path: Path) -> None:
    """Topics and records are there again, at the same address, after SIGTERM and after SIGKILL."""
    broker = Kafka(tmp_path)
    await broker.start()
    await create_topics(broker.bootstrap_servers, {"kept": 2})
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "acks": "all"})
    for number in range(100):
        producer.produce("kept", str(number))
    assert producer.flush(30) == 0
    assert broker.process
    await signalled(broker.process, end)
    await broker.start()
    try:
        records = stored(broker, ["kept"])["kept"]
        assert sorted(int(record.value() or b"") for record in records) == list(range(100))
    finally:
        await broker.stop()


@pytest.mark.ci
async def test_a_folder_of_any_name_holds_all_that_kafka_writes(tmp_path: Path) -> None:
    """Not Latin-1, a comma, a backslash, and a locale without such letters: a second start finds the topics again."""
    folder = tmp_path / "für Žofie, a\\b" / "kafka"
    folder.mkdir(parents=True)
    broker = Kafka(folder, environment={"LC_ALL": "C"})
    await broker.start()
    await create_topics(broker.bootstrap_servers, {"kept": 1})
    await broker.stop()
    await broker.start()
    try:
        assert "kept" in client(broker.bootstrap_servers).list_topics(timeout=10).topics
    finally:
        await broker.stop()
    assert (folder / "data" / "kept-0").is_dir()
    assert [os.listdir(folder.parent), os.listdir(tmp_path)] == [["kafka"], [folder.parent.name]]  # noqa: PTH208


async def test_creating_topics_twice_changes_nothing(kafka: Kafka) -> None:
    """Topics that exist are left as they are; the others are created with their partitions."""
    await create_topics(kafka.bootstrap_servers, {"twice": 2})
    await create_topics(kafka.bootstrap_servers, {"twice": 3, "once": 1})
    topics = client(kafka.bootstrap_servers).list_topics(timeout=10).topics
    assert {name: len(topics[name].partitions) for name in ("twice", "once")} == {"twice": 2, "once": 1}


@pytest.mark.parametrize("servers", ["127.0.0.1:1", "no such host:port"])
async def test_a_kafka_that_does_not_answer_is_named(servers: str) -> None:
    """It may be the one of KAFKA_BOOTSTRAP_SERVERS: `make run` ends with this line, and no traceback."""
    with pytest.raises(PartFailedError, match=f"Kafka at {servers} does not answer"):
        await create_topics(servers, {"payments": 1}, timeout_s=2)


async def test_a_topic_that_kafka_refuses_is_an_error_with_its_reason(kafka: Kafka) -> None:
    """The rights to create them may be missing; here it is the name."""
    with pytest.raises(PartFailedError, match=r"refused the topics: .*[Tt]opic"):
        await create_topics(kafka.bootstrap_servers, {"no/such/name": 1})


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """Kafka does not start beside whatever listens on its port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PartFailedError, match=f"port {port}.* in use"):
            await Kafka(tmp_path, port).start()


async def test_a_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    """What Kafka said before it ended is in the error."""
    broker = Kafka(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=99\n")
    with pytest.raises(PartFailedError, match=r"ended[\s\S]*meta\.properties"):
        await broker.start()


def test_a_broker_that_needs_three_minutes_on_a_busy_machine_is_waited_for(tmp_path: Path) -> None:
    """Fault 30: 60 s were too short. Time passes a hundred times as fast here, and the broker answers when told."""

    class Hurried(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() * 100

    class Impatient(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            return super().select(timeout and timeout / 100)

    async def slow() -> bool:
        await asyncio.sleep(180)
        return True

    async def start() -> None:
        broker = Kafka(tmp_path, java=java, ready=slow)
        try:
            await broker.start()
        finally:
            assert broker.process
            await signalled(broker.process, signal.SIGKILL)

    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexec sleep 60\n")
    java.chmod(0o755)
    with asyncio.Runner(loop_factory=lambda: Hurried(Impatient())) as runner:
        runner.run(start())


def test_a_jar_that_is_not_the_locked_one_is_not_used(tmp_path: Path) -> None:
    """A damaged jar is put aside, and downloaded again rather than run."""
    jar = ensure_jars()[0]
    copy = tmp_path / jar.relative_to(JARS)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"half of a download")
    asked = []

    def refuse(message: str) -> None:
        asked.append(message)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        ensure_jars(refuse, tmp_path)
    assert jar.name in asked[0]
    assert not copy.exists()


async def test_kafka_dies_with_its_parent(tmp_path: Path) -> None:
    """When the process that started the broker is killed, the broker goes too."""
    program = (
        "import asyncio, pathlib, sys; from local.servers.kafka import Kafka\n"
        "async def main():\n"
        "    broker = Kafka(pathlib.Path(sys.argv[1])); await broker.start()\n"
        "    print(broker.process.pid, flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 90))
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(10):
        while _runs(pid):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether a process exists and is no zombie, which a container without an init leaves."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
