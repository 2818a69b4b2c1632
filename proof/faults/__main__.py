"""Rounds of all faults under load, in random order, for as long as asked: `python -m proof.faults --minutes 30`.

One stack on a replica set of three; every round has its own customers, all of whom are audited again at the end.
Exit status 0 when nothing was lost, charged twice or contradicted; 1 otherwise.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.program import Stopped, run, say
from local.settings import Settings
from proof.faults.audit import anomalies
from proof.faults.injections import ALL
from proof.faults.load import Ledger
from proof.faults.replica_set import ReplicaSet
from proof.faults.rounds import Round, play
from proof.faults.system import System, running
from proof.faults.topics import PAYMENTS, RESULTS
from tests.support.options import Parser, minutes, whole

_MOST_MINUTES = 7 * 24 * 60
_KEPT = 50  # records of each partition that stay after a round, for a group that is reset to deliver once more


def _shuffled(seed: int) -> Iterator[str]:
    """Yield the names of all faults, in one random order after the other."""
    order = random.Random(seed)
    while True:
        yield from order.sample(sorted(ALL), len(ALL))


@dataclass
class Played:
    """What was done so far; may be read at any time."""

    rounds: defaultdict[str, list[Round]] = field(default_factory=lambda: defaultdict(list))
    audited: bool = False
    """Whether all customers were audited once more at the end."""
    late: list[str] = field(default_factory=list)
    """What that found."""

    @property
    def found(self) -> int:
        """How many anomalies there were."""
        return sum(len(one.anomalies) for rounds in self.rounds.values() for one in rounds) + len(self.late)

    @property
    def ledgers(self) -> list[Ledger]:
        """What all customers were told."""
        return [ledger for rounds in self.rounds.values() for one in rounds for ledger in one.ledgers]

    def tell(self) -> None:
        """Print it."""
        say(_table(self.rounds))
        for anomaly in self.late:
            say(f"    at the end: {anomaly}")
        audited = f"audited once more at the end: {len(self.late)} anomalies" if self.audited else "not audited again"
        say(f"{len(self.ledgers)} customers {audited}")


async def _play_for(seconds: float, seed: int, system: System, played: Played) -> None:
    """Play rounds until the time is over, and write them down."""
    begun = time.monotonic()
    for number, fault in enumerate(_shuffled(seed), 1):
        if time.monotonic() - begun > seconds:
            break
        one = await play(system, ALL[fault], seed + number)
        played.rounds[fault].append(one)
        say(
            f"{(time.monotonic() - begun) / 60:5.1f} min  round {number:3}  {fault:32} {one.accepted:4} orders"
            f"  {one.unanswered:3} unanswered  {len(one.anomalies)} anomalies"
        )
        for anomaly in one.anomalies:
            say(f"    {anomaly}")
        for topic in (PAYMENTS, RESULTS):
            await asyncio.to_thread(system.topics.expire, topic, _KEPT)
    played.late = await anomalies(system, played.ledgers)
    played.audited = True


def _table(played: dict[str, list[Round]]) -> str:
    lines = [f"{'fault':32} rounds  orders    paid  declined  unanswered  s/round  anomalies"]

    def line(name: str, rounds: list[Round]) -> str:
        sums = [sum(getattr(one, field) for one in rounds) for field in ("accepted", "paid", "declined", "unanswered")]
        mean_s = sum(one.seconds for one in rounds) / max(1, len(rounds))
        wrong = sum(len(one.anomalies) for one in rounds)
        return f"{name:32} {len(rounds):6} {sums[0]:7} {sums[1]:7} {sums[2]:9} {sums[3]:11} {mean_s:8.1f} {wrong:10}"

    lines += [line(name, played[name]) for name in sorted(played)]
    return "\n".join([*lines, line("all", [one for rounds in played.values() for one in rounds])])


async def _run(minutes: float, seed: int, played: Played) -> None:
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        async with ReplicaSet(folder) as replica_set:
            settings = Settings(folder=folder / "stack", port=0, mongodb_uri=replica_set.uri, kafka_port=0, sink_port=0)
            async with running(settings, replica_set) as system:
                await _play_for(minutes * 60, seed, system, played)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options. Ends with one line and exit status 2 when one of them cannot be."""
    parser = Parser(description="Break everything, again and again, under load")
    parser.add_argument("--minutes", type=minutes(_MOST_MINUTES), default=30.0)
    parser.add_argument(
        "--seed", type=whole(0, 10**12), default=random.randrange(10**6), help="decides the order of the faults"
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Play, and say how it went, also when a signal has ended it early."""
    arguments = options()
    logging.disable(logging.ERROR)  # Kafka's clients complain about the outages we make
    played, stopped = Played(), None
    try:
        say(f"{arguments.minutes:g} minutes of {len(ALL)} faults, seed {arguments.seed}")
        run(_run(arguments.minutes, arguments.seed, played), say)
    except Stopped as early:
        stopped = early
    finally:  # also after a bug of ours
        with contextlib.suppress(Stopped):
            played.tell()
            early_by = f"; ended early: {stopped}; a round under way does not count" if stopped else ""
            say(f"{played.found} anomalies{early_by}")
    return 1 if played.found else stopped.status if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
