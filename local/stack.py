"""The whole stack: what the manifests say, started, kept running, and stopped in order."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Final, Self

from local import folder, manifests
from local.manifests import Manifests, Patch, Service
from local.plan import Plan
from local.ports import Ports
from local.servers import envoy, services, zipkin
from local.servers.kafka import Kafka, create_topics
from local.servers.mongodb import Mongod
from local.servers.parts import Keeper, Part, Server, failed, signalled, spawn
from local.settings import Settings, SettingsError
from local.stand_ins.ping_source import PingTimer
from wire.address import hosts
from wire.login import PROPERTIES, login

_SETUP_TIMEOUT_S: Final = 60  # under a second, unless MONGODB_URI names a replica set without a primary
_STARTING_AT_ONCE: Final = 3  # functions; more of them would only take turns on a small machine
_ECHO_INTERVAL_S: Final = 0.2

MONGOD: Final = "mongod"
KAFKA: Final = "kafka"
KAFKA_SINK: Final = "kafka-sink"
KAFKA_SOURCE: Final = "kafka-source"
ENVOY: Final = "envoy"
ZIPKIN: Final = "zipkin"
OTLP_TO_ZIPKIN: Final = "otlp-to-zipkin"


class Stack:
    """The one-machine Knative, running while its `async with` block is.

    Its parts are `mongod`, `kafka`, `kafka-sink`, `kafka-source`, `envoy` and one for each Service, by its name; with
    traces, `zipkin` and `otlp-to-zipkin`. A part that ends is started again, on the same port; one stopped by
    `stop_part` stays down until `start_part`.

    Any number of stacks run beside each other, given their own folders and free ports:
    `Stack(Settings(folder=tmp_path, port=0, mongodb_port=0, kafka_port=0, sink_port=0))`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patches: Sequence[Patch] = (),
        env_overrides: Mapping[str, Mapping[str, str]] | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Settle what runs where; nothing is started yet.

        Args:
            settings: where to listen and to keep data.
            patches: what an overlay would change in the manifests.
            env_overrides: more environment variables for functions, by the name of their Service.
            report: is told one line about each part that becomes ready or ends.

        Raises:
            ManifestError: the manifests say what local/ does not do.
            SettingsError: a part cannot run on this machine, ports are in use, or a stack runs in the folder.

        """
        self._plan = plan = _settled(settings, manifests.read(settings.manifests, patches), env_overrides or {})
        self.manifests, self.folder = plan.manifests, plan.folder
        self.url, self.host_url = plan.url, plan.host_url
        self.function_url, self.sink_url = plan.function_url, plan.sink_url
        self.mongodb_uri, self.kafka_bootstrap_servers = plan.mongodb_uri, plan.kafka_bootstrap_servers
        self.log_file, self.zipkin_url = plan.log_file, plan.zipkin_url

        self._show = report
        self._echoes: list[asyncio.Task[None]] = []
        self._lock: IO[str] | None = None
        self._keepers = {name: Keeper(name, part, self._report) for name, part in _parts(plan).items()}
        self.pings = {
            ping.name: PingTimer(ping, plan.function_ports[ping.sink.name], self._report)
            for ping in plan.manifests.pings
        }
        """The timers by the names of their PingSources; `await stack.pings["resend-orders"].tick()` ticks now."""

    def pid(self, part: str) -> int:
        """Return the process id of a part.

        Raises:
            LookupError: it does not run.

        """
        process = self._keepers[part].part.process
        if process is None or process.returncode is not None:
            raise LookupError(f"{part} does not run")
        return process.pid

    async def kill(self, part: str) -> None:
        """Kill a part (SIGKILL) and return when it is gone; it is started again by itself."""
        await self._keepers[part].kill()

    async def stop_part(self, part: str) -> None:
        """Stop a part, in order (SIGTERM), until `start_part`."""
        await self._keepers[part].stop()

    async def start_part(self, part: str) -> None:
        """Start a part that was stopped, and return when it is ready."""
        await self._keepers[part].start()

    async def wait_ready(self, *parts: str, timeout_s: float = 240) -> None:
        """Wait until these parts are ready; all of them when none is named.

        Raises:
            TimeoutError: one is not.

        """
        async with asyncio.timeout(timeout_s):
            for part in parts or self._keepers:
                await self._keepers[part].ready.wait()

    async def __aenter__(self) -> Self:
        """Start everything and return when all of it is ready.

        Raises:
            PartFailedError: a part did not start; nothing is left running.
            SettingsError: another stack runs in this folder, or it cannot be written.

        """
        self._lock = folder.take(self.folder)
        try:
            with folder.usable(self.folder):
                folder.begin_logs(self.folder)
                folder.tell_addresses(self.folder, self._plan.addresses())
            if self._plan.settings.echo_logs:
                self._echoes = [asyncio.create_task(self._echo(service.name)) for service in self.manifests.services]
            await self._start()
        except BaseException:
            await self._stop()
            raise
        for ping in self.pings.values():
            ping.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything and return when nothing is left running."""
        await self._stop()

    async def _start(self) -> None:
        try:
            async with asyncio.TaskGroup() as starting:
                functions = starting.create_task(self._start_functions())
                starting.create_task(self._start_mongodb_and_ingress())
                starting.create_task(self._start_kafka_and_source(functions))
                starting.create_task(self._keepers[KAFKA_SINK].start())
                for part in (ZIPKIN, OTLP_TO_ZIPKIN):
                    if part in self._keepers:
                        starting.create_task(self._keepers[part].start())
        except BaseExceptionGroup as group:
            cause: BaseException = group
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]  # the others failed after it
            raise cause from None

    async def _start_functions(self) -> None:
        """Start those first that customers call."""
        turns = asyncio.Semaphore(_STARTING_AT_ONCE)

        async def start(service: Service) -> None:
            async with turns:
                await self._keepers[service.name].start()

        async with asyncio.TaskGroup() as starting:
            for service in sorted(self.manifests.services, key=lambda service: not service.public):
                starting.create_task(start(service))

    async def _start_mongodb_and_ingress(self) -> None:
        """Open the ingress only when the unique indexes are there: the protocol rests on them."""
        if MONGOD in self._keepers:
            await self._keepers[MONGOD].start()
        else:
            self._report(f"{MONGOD:<16} not started: {hosts(self.mongodb_uri)} is used, as MONGODB_URI says")
        await self._set_up_databases()
        await self._keepers[ENVOY].start()

    async def _start_kafka_and_source(self, functions: asyncio.Task[None]) -> None:
        """Start the source last: what a former run has left in the topics should find its functions ready."""
        if KAFKA in self._keepers:
            await self._keepers[KAFKA].start()
        else:
            servers = self.kafka_bootstrap_servers
            self._report(f"{KAFKA:<16} not started: {servers} is used, as KAFKA_BOOTSTRAP_SERVERS says")
        partitions = {topic.name: topic.partitions for topic in self.manifests.topics}
        await create_topics(self.kafka_bootstrap_servers, partitions, login=login(self._plan.settings.kafka_login))
        await asyncio.wait([functions])
        await self._keepers[KAFKA_SOURCE].start()

    async def _set_up_databases(self) -> None:
        begun = time.monotonic()
        log_file = self.log_file("setup")
        environment = {**services.base_environment(), "MONGODB_URI": self.mongodb_uri, **self._plan.settings.databases}
        process = await spawn([sys.executable, "-m", "shop.setup"], log_file, environment)
        try:
            async with asyncio.timeout(_SETUP_TIMEOUT_S):
                status = await process.wait()
        except TimeoutError:
            await signalled(process, signal.SIGKILL)
            raise failed(f"shop.setup did not end within {_SETUP_TIMEOUT_S} s", log_file) from None
        if status != 0:
            raise failed(f"shop.setup ended with status {status}", log_file)
        self._report(f"{'setup':<16} done after {time.monotonic() - begun:.1f} s")

    async def _stop(self) -> None:
        """Stop in the direction of the flow: first what brings work in, last what holds the data."""
        for keeper in self._keepers.values():
            keeper.retire()  # systemd and others signal every process, so some parts end before their turn
        for ping in self.pings.values():
            await ping.stop()
        functions = [service.name for service in self.manifests.services]
        for group in ([ENVOY], [KAFKA_SOURCE], functions, [KAFKA_SINK], [OTLP_TO_ZIPKIN], [KAFKA, MONGOD, ZIPKIN]):
            await asyncio.gather(*(self._keepers[part].stop() for part in group if part in self._keepers))
        for echo in self._echoes:
            echo.cancel()
        if self._lock is not None:
            self._lock.close()

    def _report(self, line: str) -> None:
        """Show a line, and keep it in a log: by the time that somebody asks, the terminal may be gone."""
        with contextlib.suppress(OSError), self.log_file("stack").open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z {line}\n")
        self._show(line)

    async def _echo(self, part: str) -> None:
        log_file = self.log_file(part)
        log_file.touch()
        with log_file.open(encoding="utf-8", errors="replace") as log:
            while True:
                line = log.readline()
                if line:
                    self._show(f"{part:<16} {line.rstrip()}")
                else:
                    await asyncio.sleep(_ECHO_INTERVAL_S)


def _settled(settings: Settings, manifests: Manifests, env_overrides: Mapping[str, Mapping[str, str]]) -> Plan:
    """Take the ports, and return what runs where.

    A function has the same port as before, for a dead letter names the URL of the function that refused it, and is
    redriven to it.
    """
    home = settings.folder.absolute()
    ports = Ports()
    if folder.runs(home):
        other = {**ports.instead(settings.ports), "LOCAL_DIR": folder.beside(settings.folder)}
        raise SettingsError(
            f"a stack runs here already, in {settings.folder}: {folder.addresses(home).get('url', 'about to start')}\n"
            f"Use it, stop it (Ctrl-C where it runs), or run another beside it: {settings.command(other)}"
        )
    fixed = ports.claim(settings)
    urls = folder.addresses(home).get("functions", {})
    former = {name: int(url.rpartition(":")[2]) for name, url in urls.items()}
    functions = {service.name: ports.again(former.get(service.name)) for service in manifests.services}
    return Plan(settings, manifests, fixed, functions, env_overrides, ports.free() if settings.traces else None)


def _parts(plan: Plan) -> dict[str, Part]:
    """Return the processes of a plan, by name; none for a MongoDB or a Kafka that runs elsewhere."""
    parts: dict[str, Part] = {}
    if "MONGODB_PORT" in plan.ports:
        parts[MONGOD] = Mongod(plan.folder / "mongodb", plan.ports["MONGODB_PORT"], plan.log_file(MONGOD))
    if "KAFKA_PORT" in plan.ports:
        parts[KAFKA] = Kafka(plan.folder / "kafka", plan.ports["KAFKA_PORT"], plan.log_file(KAFKA))
    for service in plan.manifests.services:
        parts[service.name] = services.server(
            service, plan.function_ports[service.name], plan.environment(service), plan.log_file(service.name)
        )
    parts[KAFKA_SINK] = _module(plan, KAFKA_SINK, "local.stand_ins.kafka_sink", plan.kafka_sink())
    parts[KAFKA_SOURCE] = _module(plan, KAFKA_SOURCE, "local.stand_ins.kafka_source", plan.kafka_source())
    if "ZIPKIN_PORT" in plan.ports:
        parts[ZIPKIN] = zipkin.Zipkin(plan.ports["ZIPKIN_PORT"], plan.log_file(ZIPKIN))
        parts[OTLP_TO_ZIPKIN] = _module(plan, OTLP_TO_ZIPKIN, "local.stand_ins.otlp_to_zipkin", plan.otlp_to_zipkin())
    parts[ENVOY] = envoy.server(
        plan.manifests, plan.function_ports, plan.ports["PORT"], plan.folder, plan.log_file(ENVOY)
    )
    return parts


def _module(plan: Plan, part: str, module: str, config: Mapping[str, Any]) -> Server:
    """Return a process of ours that is told everything in a file but for a login, and says when it is ready.

    Whoever can read the folder does not see the password. A login to another Kafka than the stack's is for nobody here.
    """
    file = plan.folder / f"{part}.json"
    others = {name: value for name, value in os.environ.items() if name not in PROPERTIES}
    return Server(
        [sys.executable, "-m", module, file],
        plan.log_file(part),
        environment={**others, **plan.settings.kafka_login},
        config=(file, json.dumps(config, indent=2)),
    )
