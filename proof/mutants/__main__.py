"""Put small bugs into the code and the manifests, one at a time: tests that take seconds must find each."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from proof.mutants.mutant import Mutant
from proof.mutants.mutants import MUTANTS
from proof.mutants.run import Fate, Outcome, benches, failing, run_all

ROOT = Path(__file__).parents[2]
_BAR = 20
"""Characters of the progress bar."""

_TAIL = 25
"""Lines of what pytest said about a mutant that did not die."""


def say(line: str = "", *, end: str = "\n") -> None:
    """Print now."""
    sys.stdout.write(line + end)
    sys.stdout.flush()


async def hunt(project: Path, mutants: Sequence[Mutant]) -> bool:
    """Run mutants, show how far it is, and end with a table, also on Ctrl-C. Return whether all died."""
    for mutant in mutants:
        mutant.mutated(project)  # before the minutes that the others take
    started, outcomes = time.monotonic(), list[Outcome]()

    def told(outcome: Outcome) -> None:
        outcomes.append(outcome)
        done = len(outcomes)
        left_s = (time.monotonic() - began) / done * (len(mutants) - done)
        alive = sum(each.fate is not Fate.DIED for each in outcomes)
        say(f"\r[{'#' * (_BAR * done // len(mutants)):{_BAR}}] {done} of {len(mutants)} mutants, {left_s / 60:.0f} min "
            f"left, {alive} not dead ", end="")  # fmt: skip

    try:
        async with benches(project) as made:
            say("the tests without a mutant ...", end="")
            if output := await failing(made, mutants):
                say(f"\n{output}\nthe tests fail without a mutant, so nothing can be said of one")
                return False
            say(f" pass, {time.monotonic() - started:.0f} s")
            began = time.monotonic()
            await run_all(made, mutants, told)
    finally:
        if outcomes:
            _tell(mutants, outcomes, time.monotonic() - started)
    return all(outcome.fate is Fate.DIED for outcome in outcomes)


def _tell(mutants: Sequence[Mutant], outcomes: Sequence[Outcome], took_s: float) -> None:
    by_mutant = {outcome.mutant: outcome for outcome in outcomes}
    say("\n")
    for mutant in mutants:
        if outcome := by_mutant.get(mutant):
            say(f"{outcome.fate:8} {outcome.seconds:4.0f} s  {mutant.file:34} {mutant.bug}"
                f"{f'  [{outcome.killer}]' if outcome.killer else ''}")  # fmt: skip
    for outcome in outcomes:
        if outcome.fate is not Fate.DIED:
            last = "\n".join(outcome.output.splitlines()[-_TAIL:])
            say(f"\n{outcome.fate}: {outcome.mutant.bug} ({outcome.mutant.file})\n{last}")
    died = sum(outcome.fate is Fate.DIED for outcome in outcomes)
    say(f"\n{died} of {len(mutants)} mutants died, {took_s:.0f} s")


def main() -> None:
    """Run the mutants; exit 1 when one survived, or does not fit the code any more."""
    parser = argparse.ArgumentParser(prog="python -m proof.mutants", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose bug or file has this text")
    wanted = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if wanted.only in mutant.bug or wanted.only in mutant.file]
    if not mutants:
        sys.exit(f"no mutant has {wanted.only!r} in its bug or file")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as on Ctrl-C: the mongods too
    try:
        sys.exit(not asyncio.run(hunt(ROOT, mutants)))
    except ValueError as stale:
        sys.exit(f"{stale}; write the mutant anew for the code as it is")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
