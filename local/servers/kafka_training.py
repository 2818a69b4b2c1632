"""What a broker does that is run once so that Java learns it, as kafka_program.py wants it: the work of a stack."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from local.servers.child import die_with_parent
from local.stand_ins.librdkafka import SILENT

STEP_TIMEOUT_S: Final = 240  # each step takes seconds on an idle machine

_TOPIC: Final = "work"
_PARTITIONS: Final = 4
_GROUPS: Final = ("a", "b", "c")  # as many as the stack has
_RECORDS: Final = 1500  # sent one by one; with fewer, less of what a broker does is known
_HEADERS: Final[list[tuple[str, str | bytes | None]]] = [("ce_id", b"0123456789abcdef.1"), ("ce_type", b"payment")]


@contextlib.contextmanager
def running(command: Sequence[str | Path], folder: Path, log_file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process in a folder for as long as the block does, with its output in a file."""
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # see Kafka
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def work(broker: "subprocess.Popen[bytes]", port: int) -> None:
    """Have a broker do for some seconds what it does in a stack, and stop it.

    Raises:
        KafkaException: it ended, or did not answer in time.
        subprocess.TimeoutExpired: it did not end in time.
        TimeoutError: it did not take or give the records in time.

    """
    servers: dict[str, str | int | float | bool] = {"bootstrap.servers": f"127.0.0.1:{port}"}
    admin = AdminClient(servers, logger=SILENT)
    _wait_ready(broker, admin)
    admin.create_topics([NewTopic(_TOPIC, _PARTITIONS, 1)])[_TOPIC].result(STEP_TIMEOUT_S)
    producer = Producer({**servers, "acks": "all", "linger.ms": 0}, logger=SILENT)
    reads = {"auto.offset.reset": "earliest", "isolation.level": "read_committed", "enable.auto.commit": False}
    consumers = [Consumer({**servers, **reads, "group.id": group}, logger=SILENT) for group in _GROUPS]
    for consumer in consumers:
        consumer.subscribe([_TOPIC])
    until = time.monotonic() + STEP_TIMEOUT_S
    left = [_RECORDS] * len(_GROUPS)
    for number in range(_RECORDS):
        producer.produce(_TOPIC, bytes(80), str(number), headers=_HEADERS)
        producer.flush(1)
        _take(consumers, left, 0)
    while any(left) and time.monotonic() < until:
        _take(consumers, left, 0.1)
    if any(left):
        raise TimeoutError(f"{left} of {_RECORDS} records did not arrive")
    for consumer in consumers:
        consumer.commit(asynchronous=False)
        consumer.close()
    broker.send_signal(signal.SIGTERM)
    broker.wait(STEP_TIMEOUT_S)


def _wait_ready(broker: "subprocess.Popen[bytes]", admin: AdminClient) -> None:
    until = time.monotonic() + STEP_TIMEOUT_S
    while True:
        try:
            admin.list_topics(timeout=1)
        except KafkaException:
            if broker.poll() is not None or time.monotonic() > until:
                raise
        else:
            return


def _take(consumers: Sequence[Consumer], left: list[int], timeout_s: float) -> None:
    for place, consumer in enumerate(consumers):
        while left[place] and (message := consumer.poll(timeout_s)) is not None:
            left[place] -= message.error() is None
