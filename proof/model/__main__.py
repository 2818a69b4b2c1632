"""Explore the model by hand: at larger bounds, or to read how each rule left out is caught."""

import argparse
import sys
import time

from proof.model.configurations import BIG, CATCHES, CONFIGURATIONS, DAMAGES
from proof.model.explore import explore
from proof.model.world import Model


def main() -> int:
    """Print a line per configuration, or a history per mutation; return 1 if a promise broke or states are missing."""
    parser = argparse.ArgumentParser(prog="python -m proof.model", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--big", action="store_true", help="bounds that take minutes instead of seconds")
    what.add_argument("--mutations", action="store_true", help="leave out one rule at a time; print the history")
    arguments = parser.parse_args()

    if arguments.mutations:
        for catch in CATCHES:
            found = explore(Model(catch.bounds, catch.mutation), only=[catch.promise])
            sys.stdout.write(f"{catch.mutation.name}: {catch.mutation.value}\n{found.counterexample}\n\n")
        for damage in DAMAGES:
            found = explore(Model(damage.bounds), only=[damage.promise])
            sys.stdout.write(f"{damage.bounds.restored[0]} restored alone\n{found.counterexample}\n\n")
        return 0

    for name, configuration in (BIG if arguments.big else CONFIGURATIONS).items():
        began = time.monotonic()
        found = explore(Model(configuration.bounds))
        took_s = time.monotonic() - began
        sys.stdout.write(f"{name}: {len(found.worlds):,} states, {found.steps:,} steps, {took_s:.1f} s\n")
        sys.stdout.flush()
        if found.counterexample or len(found.worlds) != configuration.states:
            sys.stdout.write(f"{found.counterexample or f'expected {configuration.states:,} states'}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
