"""`make simulate` and `make mutants`: many seeds on all cores, and what they found."""

import signal
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from proof.simulation.faults import Fault
from proof.simulation.mutants import MUTANTS
from proof.simulation.simulation import Simulation
from proof.simulation.workers import in_parallel
from tests.support.options import Parser, whole

_CHUNK = 25
"""Seeds that a worker runs before it reports: a few seconds."""

_BAR = 20
"""Characters of the progress bar."""

_MOST_ANOMALIES = 3
"""After which a simulation ends: what is so broken is broken everywhere."""

_COUNT = whole(1, 10_000_000)
"""Seeds of one run: a month's worth."""

_SEED = whole(1, 10**12)

_STARTS = (1, 1_000_001, 2_000_001)
"""Seeds at which the hunt for a mutant begins: the average of three says more than one lucky seed."""


@dataclass
class _Report:
    """What some seeds led to."""

    seeds: int = 0
    hits: Counter[Fault] = field(default_factory=Counter)
    mattered: Counter[Fault] = field(default_factory=Counter)
    stories: list[str] = field(default_factory=list)


async def _simulate(running: Simulation, seeds: range) -> tuple[range, _Report]:
    report = _Report()
    for seed in seeds:
        outcome = await running.run(seed)
        report.seeds += 1
        for hit in outcome.hits:
            report.hits[hit.fault] += 1
            report.mattered[hit.fault] += hit.mattered
        if outcome.anomaly:
            report.stories.append(await running.story(seed, outcome.anomaly))
    return seeds, report


def simulate(first: int, count: int) -> bool:
    """Run seeds, show how far it is, and end with the faults, also on Ctrl-C. Return whether all promises held."""
    total, started = _Report(), time.monotonic()
    chunks = [range(start, min(start + _CHUNK, first + count)) for start in range(first, first + count, _CHUNK)]
    todo = set(chunks)
    try:
        for chunk, report in in_parallel(_simulate, chunks):
            todo.remove(chunk)
            total.seeds += report.seeds
            total.hits += report.hits
            total.mattered += report.mattered
            total.stories += report.stories
            rate = total.seeds / (time.monotonic() - started)
            left_s = (count - total.seeds) / rate
            bar = "#" * (_BAR * total.seeds // count)
            _say(f"\r[{bar:{_BAR}}] {total.seeds} of {count} seeds, {rate:.1f}/s, {left_s / 60:.0f} min left, "
                 f"{len(total.stories)} anomalies ", end="")  # fmt: skip
            if len(total.stories) >= _MOST_ANOMALIES:
                break
    finally:
        _tell(total, time.monotonic() - started)
        if todo:
            left = min(chunk.start for chunk in todo)
            _say(f"ended early; to go on: make simulate FIRST={left} SEEDS={first + count - left}")
    return not total.stories


def _tell(total: _Report, took_s: float) -> None:
    _say(f"\n\n{'fault':65}{'injected':>10}{'mattered':>10}")
    for fault in Fault:
        _say(f"{fault:65}{total.hits[fault]:>10}{total.mattered[fault]:>10}")
    _say("mattered: something had to be done again because of it, or was found done")
    for story in total.stories:
        _say(f"\n{story}")
    _say(f"\n{total.seeds} seeds, {took_s:.0f} s, {total.hits.total()} faults, {len(total.stories)} anomalies")


async def _hunt(running: Simulation, hunt: tuple[int, int, int]) -> tuple[int, int | None]:
    """Return the mutant's number, and how many seeds it took to catch it (None: it was not)."""
    number, start, most = hunt
    with MUTANTS[number].applied():
        for seeds in range(1, most + 1):
            if (await running.run(start + seeds - 1)).anomaly:
                return number, seeds
    return number, None


def hunt_mutants(most: int) -> bool:
    """Run each mutant until it is caught, and say after how many seeds. Return whether all were."""
    started = time.monotonic()
    hunts = [(number, start, most) for number in range(len(MUTANTS)) for start in _STARTS]
    found: dict[int, list[int | None]] = {number: [] for number in range(len(MUTANTS))}
    for number, seeds in in_parallel(_hunt, hunts):
        found[number].append(seeds)
        if len(found[number]) == len(_STARTS):
            _say(f"{MUTANTS[number].bug:65} {_fate(found[number], most)}")
    caught = sum(None not in counts for counts in found.values())
    _say(f"\n{caught} of {len(MUTANTS)} bugs caught, {time.monotonic() - started:.0f} s")
    return caught == len(MUTANTS)


def _fate(counts: list[int | None], most: int) -> str:
    caught = [count for count in counts if count is not None]
    if len(caught) < len(counts):
        return f"NOT CAUGHT within {most} seeds, {len(counts) - len(caught)} times of {len(counts)}"
    return f"caught after {sum(caught) / len(caught):.0f} seeds ({', '.join(map(str, caught))})"


def _say(line: str, *, end: str = "\n") -> None:
    sys.stdout.write(line + end)
    sys.stdout.flush()


def options(arguments: Sequence[str] | None = None) -> Namespace:
    """Read the options. Ends with one line and exit status 2 when one of them cannot be, or two contradict."""
    parser = Parser(prog="python -m proof.simulation", description=__doc__)
    parser.add_argument(
        "--seeds", type=_COUNT, help="how many seeds (1000), or with --mutants at most how many each (3000)"
    )
    parser.add_argument("--first", type=_SEED, help="the first seed (1)")
    parser.add_argument("--seed", type=_SEED, help="one seed alone; its history is printed when it fails")
    parser.add_argument("--mutants", action="store_true", help="run with each known bug until it is caught")
    wanted = parser.parse_args(arguments)
    if wanted.seed is not None and (wanted.seeds is not None or wanted.first is not None):
        parser.error("--seed runs one seed: leave --seeds and --first out")
    if wanted.mutants and (wanted.seed is not None or wanted.first is not None):
        parser.error("--mutants begins at seeds of its own: leave --seed and --first out")
    return wanted


def main() -> None:
    """Simulate, or hunt mutants; exit 1 when a promise was broken, or a mutant was not caught."""
    wanted = options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as on Ctrl-C: the workers' mongods too
    try:
        if wanted.mutants:
            sys.exit(not hunt_mutants(wanted.seeds or 3000))
        first, count = (wanted.first or 1, wanted.seeds or 1000) if wanted.seed is None else (wanted.seed, 1)
        sys.exit(not simulate(first, count))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
