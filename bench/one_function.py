"""b. One billing_handler process with a number of payments in flight, beside others that do the same.

Each has a database of its own on one mongod, and so many users that every account stays below the limit of its array.
What takes HTTP is given CloudEvents as KafkaSource delivers them, and emits to a trivial sink; what takes records is
fed by a Kafka, and its decisions are read there. Kafka's own CPU is not counted for it, but it shares the cores.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from bench import cpu, payments, running, sink
from bench.customers import AuditError
from bench.figures import Plot, Result, Spread, Target, method, ratios, table
from bench.load import Connection, LoadError
from bench.payments import Payments
from bench.rounds import Plan
from bench.running import Database, Running
from local.servers.kafka import Kafka, create_topics
from local.servers.probe import answers
from local.stand_ins.librdkafka import SILENT

IN_FLIGHT: Final = (1, 16, 64, 100)
OURS: Final = "this revision"
ASYNC: Final = "plain async, one by one"
SYNC: Final = "functions-framework, synchronous"
STREAM_ONE: Final = "FastStream, one by one"
STREAM_BATCH: Final = "FastStream, batch mode"

_USERS: Final = 4000
_ROUND_S: Final = 2.5
_RAMP_S: Final = 0.5
_MINUTES: Final = 7.0
_PARTITIONS: Final = 1  # a batch is what lies in one: with more of them it would be smaller
_AT: Final = 64  # in flight, where the promise is
_OVER: Final = {ASYNC: (2.5, 3.5), STREAM_BATCH: (0.8, 1.1)}


class Feeder(Protocol):
    """Keeps a number of payments in flight; `done` counts those that were decided."""

    payments: Payments
    done: int

    async def feed(self, in_flight: int, until: float) -> None:
        """Feed until the time is over, and wait until all are decided."""


class Posts:
    """Delivers over HTTP, each payment on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.payments = Payments(_USERS)
        self.done = 0
        self._url = url

    async def feed(self, in_flight: int, until: float) -> None:
        """Feed until the time is over, and wait until all are decided. Raises LoadError when one is refused."""
        await asyncio.gather(*(self._one_by_one(until) for _ in range(in_flight)))

    async def _one_by_one(self, until: float) -> None:
        connection = await Connection.to(self._url)
        while time.monotonic() < until:
            answer = await connection.send(payments.post(self._url, self.payments.next()))
            if not 200 <= answer.status < 300:
                raise LoadError(f"a payment is answered {answer.status} {answer.body[:200]!r}")
            self.done += 1
        connection.close()


class Records:
    """Produces to a topic, and counts the decisions in another."""

    _TURN_S = 0.002
    _MOST = 500  # records in one turn
    _DECIDED_WITHIN_S = 90.0  # joining a group takes long on a busy machine

    def __init__(self, bootstrap_servers: str, requested: str, decided: str) -> None:
        self.payments = Payments(_USERS)
        self.done = 0
        self._requested = requested
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 0}, logger=SILENT)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "bench",  # which it never joins
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 5,
            },
            logger=SILENT,
        )
        self._consumer.assign([TopicPartition(decided, number, OFFSET_BEGINNING) for number in range(_PARTITIONS)])

    async def feed(self, in_flight: int, until: float) -> None:
        """Feed until the time is over, and wait until all are decided. Raises LoadError when one is not."""
        await asyncio.to_thread(self._feed, in_flight, until)

    def _feed(self, in_flight: int, until: float) -> None:
        while True:
            feeding = time.monotonic() < until
            for _ in range(in_flight - (self.payments.made - self.done) if feeding else 0):
                event = self.payments.next()
                self._producer.produce(self._requested, event.SerializeToString(), key=event.user)
            self._producer.poll(0)
            self.done += len(self._consumer.consume(self._MOST, self._TURN_S))
            if not feeding and self.done == self.payments.made:
                return
            if time.monotonic() > until + self._DECIDED_WITHIN_S:
                raise LoadError(f"{self.payments.made - self.done} payments of {self._requested} were not decided")

    def close(self) -> None:
        """Close its connections."""
        self._consumer.close()


@dataclass(frozen=True)
class Round:
    """What one round has found."""

    per_s: float
    function_us: float
    mongod_us: float


@dataclass
class Contender:
    """A way to write billing_handler, and its rounds, by the number in flight."""

    name: str
    processes: list[cpu.Process]
    feeder: Feeder
    database: str
    rounds: dict[int, list[Round]] = field(default_factory=lambda: {number: [] for number in IN_FLIGHT})

    async def play(self, in_flight: int, seconds: float, ramp_s: float, mongod: list[cpu.Process]) -> Round:
        """Feed it, and look at it from the end of the ramp on."""
        until = time.monotonic() + ramp_s + seconds
        feeding = asyncio.create_task(self.feeder.feed(in_flight, until))
        await asyncio.sleep(ramp_s)
        before, done, begun = (cpu.used(self.processes), cpu.used(mongod)), self.feeder.done, time.monotonic()
        await asyncio.wait([feeding], timeout=max(until - begun, 0))
        lasted, decided = time.monotonic() - begun, self.feeder.done - done
        used = (cpu.used(self.processes).total() - before[0].total(), cpu.used(mongod).total() - before[1].total())
        await feeding
        if not decided:
            raise LoadError(f"{self.name}: nothing was decided with {in_flight} in flight")
        return Round(decided / lasted, used[0] * 1e6 / decided, used[1] * 1e6 / decided)


async def measure(plan: Plan, results: list[Result]) -> None:
    """Play all rounds, and leave what they have found, even when they are ended early.

    Raises:
        AuditError: somebody was not charged once for each payment.
        LoadError: one does not work.

    """
    async with AsyncExitStack() as stack:
        plan.say("b: starting mongod, Kafka and all contenders")
        database = await stack.enter_async_context(running.database())
        contenders = await _contenders(stack, database)
        for each in contenders:
            await payments.open_accounts(database.uri, each.database, _USERS)
        for each in contenders:
            plan.say(f"b: {each.name}, warming up")
            await each.feeder.feed(16, time.monotonic() + plan.seconds(2.0))
        try:
            for number in plan.play("b", _MINUTES):
                turn = number % len(contenders)
                for in_flight in IN_FLIGHT:
                    for each in [*contenders[turn:], *contenders[:turn]]:
                        seconds, ramp_s = plan.seconds(_ROUND_S, least=0.5), plan.seconds(_RAMP_S)
                        played = await each.play(in_flight, seconds, ramp_s, database.processes)
                        each.rounds[in_flight].append(played)
                    said = "; ".join(f"{each.name} {each.rounds[in_flight][-1].per_s:.0f}/s" for each in contenders)
                    plan.say(f"b: round {number}, {in_flight} in flight: {said}")
        finally:
            results.extend(_results(contenders))
        for each in contenders:
            charged = await payments.charged(database.uri, each.database)
            if charged != each.feeder.payments.made:
                raise AuditError(f"{each.name} charged {charged} for {each.feeder.payments.made} payments")
        plan.say(f"b: {sum(each.feeder.done for each in contenders):,} payments were charged once each")


async def _contenders(stack: AsyncExitStack, database: Database) -> list[Contender]:
    """Start all of them."""
    taking = await stack.enter_async_context(sink.listening())
    kafka = await stack.enter_async_context(_kafka(database.folder / "kafka"))
    topics = [f"{topic}-{mode}" for topic in ("payments", "results") for mode in ("one", "batch")]
    await create_topics(kafka.bootstrap_servers, dict.fromkeys(topics, _PARTITIONS))
    common = {"MONGODB_URI": database.uri, "K_SINK": taking.url, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}

    async def start(
        name: str, command: Sequence[str | Path], ready: Callable[[int], Awaitable[bool]] = answers, **more: str
    ) -> Running:
        environment = {**common, "BILLING_DATABASE": name, **more}
        return await stack.enter_async_context(
            running.served(command, environment, database.folder / f"{name}.log", ready)
        )

    peers = Path(__file__).parent / "peers"
    framework = Path(sys.prefix) / "bin" / "functions-framework"
    await database.set_up(BILLING_DATABASE="ours")
    command, target = running.function("billing_handler")
    ours = await start("ours", command, running.healthy, **target)
    plain = await start("async", [sys.executable, "-m", "bench.peers.billing_async"])
    threads = await start("sync", [framework, "--target", "billing", "--source", peers / "billing_sync.py"])
    contenders = [
        Contender(name, process.processes, Posts(process.url), database_name)
        for name, process, database_name in (
            (OURS, ours, "ours"),
            (ASYNC, plain, "async"),
            (SYNC, threads, "sync"),
        )
    ]
    for name, mode in ((STREAM_ONE, "one"), (STREAM_BATCH, "batch")):
        consumer = await start(
            f"stream-{mode}", [sys.executable, "-m", "bench.peers.billing_faststream", mode], running.at_once
        )
        records = Records(kafka.bootstrap_servers, f"payments-{mode}", f"results-{mode}")
        stack.callback(records.close)
        contenders.append(Contender(name, consumer.processes, records, f"stream-{mode}"))
    return contenders


@asynccontextmanager
async def _kafka(folder: Path) -> AsyncIterator[Kafka]:
    kafka = Kafka(folder)
    await kafka.start()
    try:
        yield kafka
    finally:
        await kafka.stop()


def _results(contenders: Sequence[Contender]) -> list[Result]:
    ours, *others = contenders
    if not ours.rounds[IN_FLIGHT[0]]:
        return []
    result = Result("b", "One billing_handler process", [method(__doc__)])
    header = ["payments a second", *(f"{number} in flight" for number in IN_FLIGHT)]
    rates = [
        [each.name, *(Spread.of(one.per_s for one in rounds).shown() for rounds in each.rounds.values() if rounds)]
        for each in contenders
    ]
    costs = [
        [
            each.name,
            *(
                f"{statistics.median(one.function_us for one in rounds):.0f} + "
                f"{statistics.median(one.mongod_us for one in rounds):.0f}"
                for rounds in each.rounds.values()
                if rounds
            ),
        ]
        for each in contenders
    ]
    result.text += [table(header, rates), table(["CPU µs a payment: function + mongod", *header[1:]], costs)]
    result.targets += [
        Target(
            f"b. payments a second over {other.name}, {_AT} in flight",
            *_OVER[other.name],
            ratios([one.per_s for one in ours.rounds[_AT]], [one.per_s for one in other.rounds[_AT]]),
            more_is_better=True,
        )
        for other in others
        if other.name in _OVER and ours.rounds[_AT] and other.rounds[_AT]
    ]
    if all(each.rounds[number] for each in contenders for number in IN_FLIGHT):
        result.plot = Plot(
            "one_function",
            "One billing_handler process",
            "payments a second",
            [f"{number} in flight" for number in IN_FLIGHT],
            {
                each.name: [Spread.of(one.per_s for one in each.rounds[number]) for number in IN_FLIGHT]
                for each in contenders
            },
        )
    return [result]
