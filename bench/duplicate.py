"""f. A duplicate beside a first delivery: what it writes, and what it costs MongoDB and all.

The same events are delivered to a billing_handler twice, as many at a time each time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bson import Timestamp
from pymongo import AsyncMongoClient

from bench import cpu, payments, running, sink
from bench.figures import Result, Spread, Target, method, ratios, table
from bench.load import Connection, LoadError
from bench.payments import Payments
from bench.rounds import Plan
from bench.running import Database, Running

_IN_FLIGHT: Final = 16
_USERS: Final = 2000
_EVENTS: Final = 3000  # in a round, by default
_MINUTES: Final = 2.0


@dataclass(frozen=True)
class Cost:
    """What one delivery has cost."""

    oplog_bytes: float
    mongod_us: float
    all_us: float


async def measure(plan: Plan, results: list[Result]) -> None:
    """Deliver everything twice, round by round, and leave what was found. Raises LoadError."""
    first: list[Cost] = []
    again: list[Cost] = []
    async with running.database() as database, sink.listening() as taking:
        await database.set_up()
        await payments.open_accounts(database.uri, "billing", _USERS)
        command, target = running.function("billing_handler")
        environment = {**target, "MONGODB_URI": database.uri, "K_SINK": taking.url}
        log_file = database.folder / "billing.log"
        async with running.served(command, environment, log_file, running.healthy) as billing:
            made = Payments(_USERS)
            events = max(int(_EVENTS * plan.scale), 100)
            await _deliver(billing, [payments.post(billing.url, made.next()) for _ in range(events)])
            try:
                for number in plan.play("f", _MINUTES):
                    requests = [payments.post(billing.url, made.next()) for _ in range(events)]
                    for costs in (first, again):
                        costs.append(await _cost(database, billing, requests))
                    plan.say(f"f: round {number}: {_said(first[-1])}; again: {_said(again[-1])}")
            finally:
                results.extend(_results(first, again))


async def _cost(database: Database, billing: Running, requests: Sequence[bytes]) -> Cost:
    """Deliver all, and share what it cost among them."""
    async with AsyncMongoClient[dict[str, Any]](database.uri) as client:
        begun = await _latest(client)
        before = cpu.used(database.processes).total(), cpu.used(billing.processes).total()
        await _deliver(billing, requests)
        after = cpu.used(database.processes).total(), cpu.used(billing.processes).total()
        written = await _written(client, begun)
    mongod_s, function_s = after[0] - before[0], after[1] - before[1]
    number = len(requests)
    return Cost(written / number, mongod_s * 1e6 / number, (mongod_s + function_s) * 1e6 / number)


async def _deliver(billing: Running, requests: Sequence[bytes]) -> None:
    left = iter(requests)

    async def one_by_one() -> None:
        connection = await Connection.to(billing.url)
        for request in left:
            answer = await connection.send(request)
            if answer.status != 200:
                raise LoadError(f"a payment is answered {answer.status} {answer.body[:200]!r}")
        connection.close()

    await asyncio.gather(*(one_by_one() for _ in range(_IN_FLIGHT)))


async def _latest(client: AsyncMongoClient[dict[str, Any]]) -> Timestamp:
    """Return the time of the last entry of the oplog."""
    (latest,) = await client.local["oplog.rs"].find().sort("$natural", -1).limit(1).to_list()
    time: Timestamp = latest["ts"]
    return time


async def _written(client: AsyncMongoClient[dict[str, Any]], begun: Timestamp) -> int:
    """Return the bytes of the oplog since then, without the note that an idle primary writes every ten seconds."""
    pipeline: Sequence[Mapping[str, Any]] = [
        {"$match": {"ts": {"$gt": begun}, "o.msg": {"$ne": "periodic noop"}, "ns": {"$ne": "config.system.sessions"}}},
        {"$group": {"_id": None, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}},
    ]
    found = await (await client.local["oplog.rs"].aggregate(pipeline)).to_list()
    return int(found[0]["bytes"]) if found else 0


def _said(cost: Cost) -> str:
    return f"{cost.oplog_bytes:.0f} bytes, mongod {cost.mongod_us:.0f} µs, all {cost.all_us:.0f} µs"


def _results(first: Sequence[Cost], again: Sequence[Cost]) -> list[Result]:
    if not again:
        return []
    result = Result("f", f"A duplicate beside a first delivery, {_IN_FLIGHT} in flight", [method(__doc__)])
    rows = [
        [
            name,
            Spread.of(cost.oplog_bytes for cost in costs).shown(digits=0),
            Spread.of(cost.mongod_us for cost in costs).shown(digits=0),
            Spread.of(cost.all_us for cost in costs).shown(digits=0),
        ]
        for name, costs in (("first delivery", first), ("duplicate", again))
    ]
    result.text.append(table(["", "oplog bytes", "mongod CPU µs", "all CPU µs"], rows))
    over = {
        ("oplog bytes", 0.0, 0.0): ([cost.oplog_bytes for cost in again], [cost.oplog_bytes for cost in first]),
        ("mongod CPU", 0.6, 0.5): ([cost.mongod_us for cost in again], [cost.mongod_us for cost in first]),
        ("all CPU", 1.0, 0.8): ([cost.all_us for cost in again], [cost.all_us for cost in first]),
    }
    result.targets += [
        Target(f"f. {figure} of a duplicate over a first delivery", floor, aim, ratios(*both), more_is_better=False)
        for (figure, floor, aim), both in over.items()
    ]
    return [result]
