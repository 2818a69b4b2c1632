"""Rounds of all faults under load, in random order, for as long as asked: `python -m tests.faults --minutes 30`.

One stack on a replica set of three; every round has its own customers, all of whom are audited again at the end.
Exit status 0 when nothing was lost, charged twice or contradicted; 1 otherwise.
"""

import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from local.settings import Settings
from tests.faults.audit import anomalies
from tests.faults.injections import ALL
from tests.faults.load import Ledger
from tests.faults.replica_set import ReplicaSet
from tests.faults.rounds import Round, play
from tests.faults.system import System, running
from tests.faults.topics import PAYMENTS, RESULTS
from tests.options import Parser, minutes, whole

_MOST_MINUTES = 7 * 24 * 60
_KEPT = 50  # records of each partition that stay after a round, for a group that is reset to deliver once more


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _shuffled(seed: int) -> Iterator[str]:
    """Yield the names of all faults, in one random order after the other."""
    order = random.Random(seed)
    while True:
        yield from order.sample(sorted(ALL), len(ALL))


async def _play_for(seconds: float, seed: int, system: System) -> int:
    """Play rounds until the time is over; return the number of anomalies."""
    begun = time.monotonic()
    played: defaultdict[str, list[Round]] = defaultdict(list)
    ledgers: list[Ledger] = []
    found = 0
    for number, fault in enumerate(_shuffled(seed), 1):
        if time.monotonic() - begun > seconds:
            break
        one = await play(system, ALL[fault], seed + number)
        played[fault].append(one)
        ledgers += one.ledgers
        found += len(one.anomalies)
        _say(
            f"{(time.monotonic() - begun) / 60:5.1f} min  round {number:3}  {fault:32} {one.accepted:4} orders"
            f"  {one.unanswered:3} unanswered  {len(one.anomalies)} anomalies"
        )
        for anomaly in one.anomalies:
            _say(f"    {anomaly}")
        for topic in (PAYMENTS, RESULTS):
            await asyncio.to_thread(system.topics.expire, topic, _KEPT)
    _say(_table(played))
    late = await anomalies(system, ledgers)
    for anomaly in late:
        _say(f"    at the end: {anomaly}")
    _say(f"{len(ledgers)} customers audited once more at the end: {len(late)} anomalies")
    return found + len(late)


def _table(played: dict[str, list[Round]]) -> str:
    lines = [f"{'fault':32} rounds  orders    paid  declined  unanswered  s/round  anomalies"]

    def line(name: str, rounds: list[Round]) -> str:
        sums = [sum(getattr(one, field) for one in rounds) for field in ("accepted", "paid", "declined", "unanswered")]
        mean_s = sum(one.seconds for one in rounds) / max(1, len(rounds))
        wrong = sum(len(one.anomalies) for one in rounds)
        return f"{name:32} {len(rounds):6} {sums[0]:7} {sums[1]:7} {sums[2]:9} {sums[3]:11} {mean_s:8.1f} {wrong:10}"

    lines += [line(name, played[name]) for name in sorted(played)]
    return "\n".join([*lines, line("all", [one for rounds in played.values() for one in rounds])])


async def _run(minutes: float, seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        async with ReplicaSet(folder) as replica_set:
            settings = Settings(folder=folder / "stack", port=0, mongodb_uri=replica_set.uri, kafka_port=0, sink_port=0)
            async with running(settings, replica_set) as system:
                return await _play_for(minutes * 60, seed, system)


def main() -> int:
    """Play, and say how it went."""
    parser = Parser(description="Break everything, again and again, under load")
    parser.add_argument("--minutes", type=minutes(_MOST_MINUTES), default=30.0)
    parser.add_argument(
        "--seed", type=whole(0, 10**12), default=random.randrange(10**6), help="decides the order of the faults"
    )
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)  # Kafka's clients complain about the outages we make
    _say(f"{arguments.minutes:g} minutes of {len(ALL)} faults, seed {arguments.seed}")
    found = asyncio.run(_run(arguments.minutes, arguments.seed))
    _say(f"{found} anomalies")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
