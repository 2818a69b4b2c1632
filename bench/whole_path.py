"""a and c. The whole path: orders settled a second, how long each takes, and what it costs, beside others.

Each client orders one basket after the other, and learns of each outcome before the next: by `Prefer: wait=20` where
that is honoured, else by GET /GetBasket, 20 ms after each answer. Every system has a stack of its own and runs from the
first round to the last; they take turns. What the others use while they are idle is the same for each. CPU counts from
the first order of a round until its last notification is stored, less what the system uses while nothing happens.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench import cpu, systems
from bench.customers import Customer, audited
from bench.figures import Plot, Result, Spread, Target, method, percentile, ratios, shown, table
from bench.load import LoadError
from bench.rounds import Plan
from bench.running import Running, at_once, served
from bench.systems import System
from local.servers.kafka import create_topics
from local.servers.probe import answers

CLIENTS: Final = (10, 100)
OURS: Final = "this revision"
PEERS: Final = "FastAPI and FastStream"

_ROUND_S: Final = 6.0
_RAMP: Final = 0.2  # of a round, until every client is amid an order
_WARM_UP_S: Final = 8.0  # for each number of clients: Kafka's Java compiles what it runs
_IDLE_S: Final = 5.0
_MINUTES: Final = 11.0
_QUIET_S: Final = 0.3
_QUIET_WITHIN_S: Final = 20.0
_PARTITIONS: Final = 10  # of the topics, as the manifests have it
_WORTH_A_ROW_MS: Final = 0.05

# What was promised: floor and aim.
_SETTLED: Final = {10: (1.5, 2.2), 100: (2.4, 4.0)}
_CPU: Final = {10: (0.66, 0.5), 100: (0.43, 0.3)}
_OVER_PEERS: Final = {10: (1.3, 2.0), 100: (2.0, 4.0)}


@dataclass(frozen=True)
class Round:
    """What one round with so many clients has found."""

    settled_per_s: float
    latencies_s: list[float]
    cpu_ms: dict[str, float]
    """Of an order, by process."""

    load_cpu_ms: float
    """What the client itself took for an order."""

    @property
    def total_ms(self) -> float:
        """CPU of an order in all processes of the system."""
        return sum(self.cpu_ms.values())


@dataclass
class Measured:
    """A system and its rounds, by the number of clients."""

    system: System
    customers: list[Customer]
    idle: dict[str, float] = field(default_factory=dict)
    """Seconds of CPU a second by process while nothing happens."""

    rounds: dict[int, list[Round]] = field(default_factory=lambda: {clients: [] for clients in CLIENTS})

    async def order(self, clients: int, until: float) -> list[tuple[float, float]]:
        """Order with so many clients; return when each outcome was known, and how long it took."""
        customers = self.customers[:clients]
        for customer in customers:
            customer.settled.clear()
        await asyncio.gather(*(customer.run(until) for customer in customers))
        return [each for customer in customers for each in customer.settled]

    async def play(self, clients: int, seconds: float) -> Round:
        """Order until the last notification is stored. Raises LoadError if nothing was settled."""
        before, load_before, begun = cpu.used(self.system.processes), time.process_time(), time.monotonic()
        until = begun + seconds
        settled = await self.order(clients, until)
        load_s = time.process_time() - load_before
        await self._quiet()
        used, lasted = cpu.since(before, cpu.used(self.system.processes)), time.monotonic() - begun
        warm_at = begun + seconds * _RAMP
        counted = [latency for at, latency in settled if warm_at <= at <= until]
        if not counted:
            raise LoadError(f"{self.system.name}: nothing was settled by {clients} clients within {seconds:.1f} s")
        return Round(
            settled_per_s=len(counted) / (until - warm_at),
            latencies_s=counted,
            cpu_ms={
                name: max(seconds - self.idle.get(name, 0.0) * lasted, 0.0) * 1000 / len(settled)
                for name, seconds in used.items()
            },
            load_cpu_ms=load_s * 1000 / len(settled),
        )

    async def _quiet(self) -> None:
        """Wait until the work that was left behind, such as notifications, is done."""
        most = 2 * sum(self.idle.values()) + 0.1
        give_up_at, last = time.monotonic() + _QUIET_WITHIN_S, sum(cpu.used(self.system.processes).values())
        while time.monotonic() < give_up_at:
            await asyncio.sleep(_QUIET_S)
            now = sum(cpu.used(self.system.processes).values())
            if (now - last) / _QUIET_S <= most:
                return
            last = now


async def measure(plan: Plan, revision: str | None, tree: Path | None, *, peers: bool, results: list[Result]) -> None:
    """Play all rounds, beside a tree of another revision and peers, and leave what they found, even when ended early.

    Raises:
        AuditError: some basket was not paid, charged and notified once.
        LoadError: a system does not answer.

    """
    async with AsyncExitStack() as running:
        measured: list[Measured] = []
        plan.say(f"a: starting the stack of {OURS}")
        ours = await running.enter_async_context(systems.stack(OURS))
        measured.append(await _with_customers(ours))
        if revision and tree is not None:
            plan.say(f"a: starting the stack of {revision}")
            python = str(tree / ".venv" / "bin" / "python")
            measured.append(
                await _with_customers(await running.enter_async_context(systems.stack(revision, tree, python)))
            )
        if peers:
            plan.say(f"c: starting {PEERS} on the same Kafka and mongod")
            measured.append(await _with_customers(await _peers(running, ours)))
        await _warm_up(plan, measured)
        try:
            for number in plan.play("a", _MINUTES):
                await _round(plan, number, measured)
        finally:
            results.extend(_results(measured, revision))
        baskets = sum([await audited(each.customers) for each in measured])
        results[0].text.append(f"All {baskets:,} baskets of all rounds were paid, charged once and notified once.")
        plan.say(f"a: {baskets:,} baskets were paid, charged and notified once")
        for each in measured:
            for customer in each.customers:
                customer.close()


async def _peers(stack: AsyncExitStack, ours: System) -> System:
    """Start what most would write, beside the functions: one process for HTTP, one for each service's events."""
    kafka, folder = ours.addresses["kafka_bootstrap_servers"], Path(stack.enter_context(TemporaryDirectory()))
    await create_topics(kafka, dict.fromkeys(("peer-payments", "peer-results"), _PARTITIONS))
    common = {"MONGODB_URI": ours.addresses["mongodb_uri"], "KAFKA_BOOTSTRAP_SERVERS": kafka}

    async def start(name: str, module: str, *arguments: str, ready: Callable[[int], Awaitable[bool]]) -> Running:
        command, environment = [sys.executable, "-m", module, *arguments], {**common, "K_SERVICE": name}
        return await stack.enter_async_context(served(command, environment, folder / f"{name}.log", ready))

    api = await start("FastAPI", "bench.peers.shop_api", ready=answers)
    processes = [*api.processes, *(each for each in ours.processes if each.name in ("kafka", "mongod"))]
    for service in ("billing", "orders", "notify"):
        consumer = await start(f"FastStream {service}", "bench.peers.shop_consumers", service, ready=at_once)
        processes += consumer.processes
    return System(PEERS, api.url, processes, ours.folder)


async def _with_customers(system: System) -> Measured:
    return Measured(system, [await Customer.of(system.url, number) for number in range(max(CLIENTS))])


async def _warm_up(plan: Plan, measured: Sequence[Measured]) -> None:
    """Let everything have run once, and see what it uses when nothing does."""
    for each in measured:
        for clients in CLIENTS:
            plan.say(f"a: {each.system.name}, {clients} clients, warming up")
            await each.order(clients, time.monotonic() + plan.seconds(_WARM_UP_S))
    before = [cpu.used(each.system.processes) for each in measured]
    seconds = plan.seconds(_IDLE_S, least=1)
    plan.say(f"a: all idle for {seconds:.0f} s")
    await asyncio.sleep(seconds)
    for each, used in zip(measured, before, strict=True):
        now = cpu.since(used, cpu.used(each.system.processes))
        each.idle = {name: spent / seconds for name, spent in now.items()}


async def _round(plan: Plan, number: int, measured: Sequence[Measured]) -> None:
    """Play one round of all, in another order each time."""
    turn = number % len(measured)
    for clients in CLIENTS:
        said = []
        for each in [*measured[turn:], *measured[:turn]]:
            played = await each.play(clients, plan.seconds(_ROUND_S, least=4))
            each.rounds[clients].append(played)
            said.append(f"{each.system.name} {played.settled_per_s:.0f}/s {played.total_ms:.1f} ms CPU")
        plan.say(f"a: round {number}, {clients} clients: {'; '.join(said)}")


def _results(measured: Sequence[Measured], revision: str | None) -> list[Result]:
    """Say what the rounds have found."""
    ours, others = measured[0], {each.system.name: each for each in measured[1:]}
    if not any(ours.rounds.values()):
        return []
    whole = Result("a, c", "The whole path", [method(__doc__), _systems(measured), _processes(measured)])
    if all(each.rounds[clients] for each in measured for clients in CLIENTS):
        whole.plot = Plot(
            "whole_path",
            "The whole path",
            "orders settled a second",
            [f"{clients} clients" for clients in CLIENTS],
            {
                each.system.name: [Spread.of(one.settled_per_s for one in each.rounds[clients]) for clients in CLIENTS]
                for each in measured
            },
        )
    if revision in others:
        whole.targets += _settled_targets("a", ours, others[revision], _SETTLED)
        whole.targets += _cpu_targets(ours, others[revision])
    if PEERS in others:
        whole.targets += _settled_targets("c", ours, others[PEERS], _OVER_PEERS)
    return [whole]


def _systems(measured: Sequence[Measured]) -> str:
    rows = [
        [
            f"{each.system.name}, {clients} clients",
            Spread.of(one.settled_per_s for one in rounds).shown(),
            Spread.of(percentile(one.latencies_s, 0.5) * 1000 for one in rounds).shown(digits=0),
            Spread.of(percentile(one.latencies_s, 0.99) * 1000 for one in rounds).shown(digits=0),
            Spread.of(one.total_ms for one in rounds).shown(),
            Spread.of(one.load_cpu_ms for one in rounds).shown(),
            "waits" if each.customers[0].waits else "polls",
        ]
        for clients in CLIENTS
        for each in measured
        if (rounds := each.rounds[clients])
    ]
    header = ["", "settled/s", "p50 ms", "p99 ms", "CPU ms an order", "of the load", "outcome"]
    return table(header, rows)


def _processes(measured: Sequence[Measured]) -> str:
    """Return what an order costs by process."""
    columns = [(each, clients) for clients in CLIENTS for each in measured if each.rounds[clients]]
    names = {name: None for each, clients in columns for name in each.rounds[clients][0].cpu_ms}

    def cost(each: Measured, clients: int, name: str) -> float:
        return statistics.median(one.cpu_ms.get(name, 0.0) for one in each.rounds[clients])

    rows = {name: [cost(each, clients, name) for each, clients in columns] for name in names}
    header = ["CPU ms an order", *(f"{each.system.name}, {clients}" for each, clients in columns)]
    shown_rows = [
        [name, *(shown(one, 2) for one in costs)]
        for name, costs in sorted(rows.items(), key=lambda row: -max(row[1]))
        if max(costs) >= _WORTH_A_ROW_MS
    ]
    return table(header, shown_rows)


def _settled_targets(
    part: str, ours: Measured, other: Measured, bounds: Mapping[int, tuple[float, float]]
) -> list[Target]:
    return [
        Target(
            f"{part}. orders settled a second over {other.system.name}, {clients} clients",
            *bounds[clients],
            ratios(
                [one.settled_per_s for one in ours.rounds[clients]],
                [one.settled_per_s for one in other.rounds[clients]],
            ),
            more_is_better=True,
        )
        for clients in CLIENTS
        if ours.rounds[clients] and other.rounds[clients]
    ]


def _cpu_targets(ours: Measured, other: Measured) -> list[Target]:
    return [
        Target(
            f"a. CPU an order over {other.system.name}, {clients} clients",
            *_CPU[clients],
            ratios([one.total_ms for one in ours.rounds[clients]], [one.total_ms for one in other.rounds[clients]]),
            more_is_better=False,
        )
        for clients in CLIENTS
        if ours.rounds[clients] and other.rounds[clients]
    ]
