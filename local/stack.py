"""The whole stack: what the manifests say, started, kept running, and stopped in order."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from local import eventing, folder, manifests
from local.eventing import Addresses
from local.folder import ADDRESSES as ADDRESSES
from local.manifests import Patch, Ref, Service
from local.ports import Ports
from local.servers import envoy, services
from local.servers.kafka import Kafka, create_topics
from local.servers.mongodb import Mongod
from local.servers.parts import Keeper, Part, Server, failed, signalled, spawn
from local.settings import Settings, SettingsError, hosts
from local.stand_ins.ping_source import PingTimer

_SETUP_TIMEOUT_S: Final = 60  # under a second, unless MONGODB_URI names a replica set without a primary
_STARTING_AT_ONCE: Final = 3  # functions; more of them would only take turns on a small machine
_ECHO_INTERVAL_S: Final = 0.2

MONGOD: Final = "mongod"
KAFKA: Final = "kafka"
KAFKA_SINK: Final = "kafka-sink"
KAFKA_SOURCE: Final = "kafka-source"
ENVOY: Final = "envoy"


class Stack:
    """The one-machine Knative, running while its `async with` block is.

    Its parts are `mongod`, `kafka`, `kafka-sink`, `kafka-source`, `envoy` and one for each Service, by its name. A part
    that ends is started again, on the same port; one stopped by `stop_part` stays down until `start_part`.

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
        """Read the manifests and settle what runs where; nothing is started yet.

        Args:
            settings: where to listen and to keep data.
            patches: what an overlay would change in the manifests.
            env_overrides: more environment variables for functions, by the name of their Service.
            report: is told one line about each part that becomes ready or ends.

        Raises:
            ManifestError: the manifests say what local/ does not do.
            SettingsError: a part cannot run on this machine, ports are in use, or a stack runs in the folder.

        """
        self.manifests = manifests.read(settings.manifests, patches)
        self._env_overrides = env_overrides or {}
        self._show = report
        self._echo_logs = settings.echo_logs
        self._echoes: list[asyncio.Task[None]] = []
        self._keepers: dict[str, Keeper] = {}

        self.folder = settings.folder.absolute()
        self._lock: IO[str] | None = None
        if folder.runs(self.folder):
            raise SettingsError(self._runs_here(settings))

        ports = Ports()
        fixed = ports.claim(settings)
        self._port, sink_port = fixed["PORT"], fixed["SINK_PORT"]
        # The same as before: a dead letter names the URL of the function that refused it, and is redriven to it.
        former = self._former_ports()
        self._ports = {service.name: ports.again(former.get(service.name)) for service in self.manifests.services}
        self._addresses = Addresses(self._ports, sink_port)

        if settings.mongodb_uri is not None:
            self.mongodb_uri = settings.mongodb_uri
        else:
            mongod = Mongod(self.folder / "mongodb", fixed["MONGODB_PORT"], self.log_file(MONGOD))
            self.mongodb_uri = mongod.uri
            self._keep(MONGOD, mongod)
        if settings.kafka_bootstrap_servers is not None:
            self.kafka_bootstrap_servers = settings.kafka_bootstrap_servers
        else:
            kafka = Kafka(self.folder / "kafka", fixed["KAFKA_PORT"], self.log_file(KAFKA))
            self.kafka_bootstrap_servers = kafka.bootstrap_servers
            self._keep(KAFKA, kafka)

        for service in self.manifests.services:
            self._keep(service.name, self._function(service))
        sink_config = eventing.kafka_sink(self.manifests, sink_port, self.kafka_bootstrap_servers)
        source_config = eventing.kafka_source(self.manifests, self._addresses, self.kafka_bootstrap_servers)
        self._keep(KAFKA_SINK, self._module(KAFKA_SINK, "local.stand_ins.kafka_sink", sink_config))
        self._keep(KAFKA_SOURCE, self._module(KAFKA_SOURCE, "local.stand_ins.kafka_source", source_config))
        self._keep(ENVOY, envoy.server(self.manifests, self._ports, self._port, self.folder, self.log_file(ENVOY)))
        self.pings = {
            ping.name: PingTimer(ping, self._ports[ping.sink.name], self._report) for ping in self.manifests.pings
        }
        """The timers by the names of their PingSources; `await stack.pings["resend-orders"].tick()` ticks now."""

    @property
    def url(self) -> str:
        """Where customers call: the ingress."""
        return f"http://127.0.0.1:{self._port}"

    def host_url(self, service: str) -> str:
        """Where the ingress serves a public Service by its own host name, on any path."""
        (namespace,) = (known.namespace for known in self.manifests.services if known.name == service)
        return f"http://{service}.{namespace}.localhost:{self._port}"

    def function_url(self, service: str) -> str:
        """Where ingress and sources call a Service, public or not."""
        return f"http://127.0.0.1:{self._ports[service]}"

    def sink_url(self, name: str) -> str:
        """Where functions send their events for a KafkaSink."""
        (namespace,) = (sink.namespace for sink in self.manifests.sinks if sink.name == name)
        return self._addresses.of(Ref("KafkaSink", namespace, name))

    def log_file(self, part: str) -> Path:
        """Where the output of a part goes, from the start of the stack on."""
        return self.folder / folder.LOGS / f"{part}.log"

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
                self._tell_addresses()
            if self._echo_logs:
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
        await create_topics(self.kafka_bootstrap_servers, partitions)
        await asyncio.wait([functions])
        await self._keepers[KAFKA_SOURCE].start()

    async def _set_up_databases(self) -> None:
        begun = time.monotonic()
        log_file = self.log_file("setup")
        environment = {**services.base_environment(), "MONGODB_URI": self.mongodb_uri}
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
        for group in ([ENVOY], [KAFKA_SOURCE], functions, [KAFKA_SINK], [KAFKA, MONGOD]):
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

    def _tell_addresses(self) -> None:
        addresses = {
            "url": self.url,
            "mongodb_uri": self.mongodb_uri,
            "kafka_bootstrap_servers": self.kafka_bootstrap_servers,
            "sinks": {sink.name: self.sink_url(sink.name) for sink in self.manifests.sinks},
            "functions": {service.name: self.function_url(service.name) for service in self.manifests.services},
        }
        folder.tell_addresses(self.folder, addresses)

    def _former_ports(self) -> dict[str, int]:
        functions = folder.addresses(self.folder).get("functions", {})
        return {name: int(url.rpartition(":")[2]) for name, url in functions.items()}

    def _runs_here(self, settings: Settings) -> str:
        url = folder.addresses(self.folder).get("url", "about to start")
        other = {**Ports().instead(settings.ports), "LOCAL_DIR": folder.beside(settings.folder)}
        return (
            f"a stack runs here already, in {settings.folder}: {url}\n"
            f"Use it, stop it (Ctrl-C where it runs), or run another beside it: {settings.command(other)}"
        )

    def _keep(self, name: str, part: Part) -> None:
        self._keepers[name] = Keeper(name, part, self._report)

    def _function(self, service: Service) -> Server:
        port = self._ports[service.name]
        environment = services.environment(service, port, self.mongodb_uri)
        for binding in self.manifests.bindings:
            if binding.subject.name == service.name:
                environment |= services.bound_environment(self._addresses.of(binding.sink))
        environment |= self._env_overrides.get(service.name, {})
        return services.server(service, port, environment, self.log_file(service.name))

    def _module(self, part: str, module: str, config: Mapping[str, Any]) -> Server:
        """Return a process of ours that is told everything in a file, and says when it is ready."""
        file = self.folder / f"{part}.json"
        return Server(
            [sys.executable, "-m", module, file], self.log_file(part), config=(file, json.dumps(config, indent=2))
        )
