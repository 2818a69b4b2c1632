"""Orders for long: nothing may grow with the number of orders that a process has done. `make soak`.

A hundred customers order until all is ordered. Memory and descriptors of every function and stand-in, and the latency,
are those at the end that they were after the start. MongoDB's cache and Kafka's log grow by nature, and are only shown.
In the end every basket is audited by its customer, and everything by `orders verify --audit`.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import uvloop

from bench import systems
from bench.customers import AuditError, Customer, audited
from bench.figures import percentile, shown, table
from bench.load import LoadError
from bench.systems import System
from local.program import Stopped, aside, end_early, run, say
from local.servers.kafka_program import installed
from local.servers.parts import PartFailedError, spawn
from local.settings import ROOT
from tests.support.options import Parser, whole

CLIENTS: Final = 100

_ORDERS: Final = 200_000
_LOOKS: Final = 40  # samples in all, if the rate stays what it is at first
_LEAST_S: Final = 2.0  # between two of them
_FEWEST_PER_S: Final = 10  # orders; a system that is slower than this for good is broken, and the soak ends
_VERIFIED_WITHIN_S: Final = 1800
_GROWING_BY_NATURE: Final = ("mongod", "kafka")

# How much more the last quarter may have than the second one; the first is when everything is made and warms up.
_MEMORY: Final = 1.1
_LATENCY: Final = 1.25
_DESCRIPTORS: Final = 1.25  # pools grow to the highest number at a time that ever was; a leak grows with each order


class GrownError(Exception):
    """Something grew; the text says what."""


@dataclass(frozen=True)
class Look:
    """The system at one time."""

    orders: int
    settled_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mb: dict[str, float]
    descriptors: dict[str, int]


class Soak:
    """The orders, and what was seen on the way."""

    def __init__(self, orders: int) -> None:
        self._orders = orders
        self.looks: list[Look] = []

    async def run(self) -> None:
        """Order everything.

        Raises:
            GrownError: memory, descriptors or latency have grown.
            AuditError: something was not charged once.
            LoadError: it does not answer, or takes for ever.

        """
        await aside(lambda: installed(say))
        say(f"Starting a stack for {self._orders:,} orders of {CLIENTS} customers")
        async with systems.stack("soak") as system:
            customers = [await Customer.of(system.url, number) for number in range(CLIENTS)]
            await self._order(system, customers)
            baskets = await audited(customers)
            say(f"{baskets:,} baskets were paid, charged and notified once; orders verify --audit:")
            await _verify(system)
        if grown := growth(self.looks):
            raise GrownError("\n".join(grown))

    async def _order(self, system: System, customers: list[Customer]) -> None:
        begun, done, slice_s = time.monotonic(), 0, _LEAST_S
        while done < self._orders:
            if done < (time.monotonic() - begun - 60) * _FEWEST_PER_S:
                raise LoadError(f"only {done:,} orders in {time.monotonic() - begun:.0f} s")
            for customer in customers:
                customer.settled.clear()
            at = time.monotonic()
            await asyncio.gather(*(customer.run(at + slice_s) for customer in customers))
            lasted, latencies = time.monotonic() - at, [took for each in customers for _, took in each.settled]
            done += len(latencies)
            look = Look(
                done,
                len(latencies) / lasted,
                percentile(latencies, 0.5) * 1000,
                percentile(latencies, 0.99) * 1000,
                {each.name: each.memory()["Rss"] / 1e6 for each in system.processes},
                {each.name: each.descriptors() for each in system.processes},
            )
            self.looks.append(look)
            slice_s = max(self._orders / look.settled_per_s / _LOOKS, _LEAST_S)
            left_s = max(self._orders - done, 0) / (done / (time.monotonic() - begun))
            say(
                f"{done:,} of {self._orders:,}: {look.settled_per_s:.0f}/s, p50 {look.p50_ms:.0f} ms, "
                f"p99 {look.p99_ms:.0f} ms, {sum(look.memory_mb.values()):.0f} MB, "
                f"{sum(look.descriptors.values())} descriptors; {left_s / 60:.0f} minutes left"
            )

    def report(self) -> str:
        """Return a table of what each process had, early and late."""
        if len(self.looks) < 4:
            return f"{len(self.looks)} looks are too few to compare"
        early, late = (_Middle.of(part) for part in quarters(self.looks))
        rows = [
            [
                name,
                *(shown(part.memory_mb[name], 1) for part in (early, late)),
                *(shown(part.descriptors[name], 0) for part in (early, late)),
            ]
            for name in early.memory_mb
        ]
        header = ["second and last quarter", "MB", "MB, last", "descriptors", "descriptors, last"]
        latencies = (f"p50 {part.p50_ms:.0f} ms, p99 {part.p99_ms:.0f} ms" for part in (early, late))
        return f"{table(header, rows)}\nLatency, second and last quarter: {'; '.join(latencies)}"


@dataclass(frozen=True)
class _Middle:
    """The medians of some looks."""

    p50_ms: float
    p99_ms: float
    memory_mb: dict[str, float]
    descriptors: dict[str, float]

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Self:
        return cls(
            statistics.median(look.p50_ms for look in looks),
            statistics.median(look.p99_ms for look in looks),
            {name: statistics.median(look.memory_mb[name] for look in looks) for name in looks[0].memory_mb},
            {name: statistics.median(look.descriptors[name] for look in looks) for name in looks[0].descriptors},
        )


def quarters(looks: Sequence[Look]) -> tuple[Sequence[Look], Sequence[Look]]:
    """Return the second and the last quarter, by orders."""
    orders = looks[-1].orders
    early = [look for look in looks if orders / 4 < look.orders <= orders / 2]
    late = [look for look in looks if look.orders > orders * 3 / 4]
    return early or looks[:1], late


def growth(looks: Sequence[Look]) -> list[str]:
    """Say what has grown."""
    early, late = (_Middle.of(part) for part in quarters(looks))
    found = []
    for name in early.memory_mb.keys() - set(_GROWING_BY_NATURE):
        if late.memory_mb[name] > early.memory_mb[name] * _MEMORY:
            found.append(f"{name} has grown from {early.memory_mb[name]:.1f} to {late.memory_mb[name]:.1f} MB")
        if late.descriptors[name] > early.descriptors[name] * _DESCRIPTORS:
            opened = f"{early.descriptors[name]:.0f} to {late.descriptors[name]:.0f}"
            found.append(f"{name} has gone from {opened} descriptors")
    if late.p50_ms > early.p50_ms * _LATENCY:
        found.append(f"the median latency has grown from {early.p50_ms:.0f} to {late.p50_ms:.0f} ms")
    return sorted(found)


async def _verify(system: System) -> None:
    """Have the command look at everything. Raises AuditError when it finds something."""
    log_file = system.folder / "logs" / "verify.log"
    environment = {**os.environ, "LOCAL_DIR": str(system.folder)}
    command = [sys.executable, "-m", "operate.cli", "verify", "--audit", "--older-than", "0s"]
    process = await spawn(command, log_file, environment, ROOT)
    try:
        async with asyncio.timeout(_VERIFIED_WITHIN_S):
            status = await process.wait()
    except TimeoutError:
        process.kill()
        status = await process.wait()
    said = await asyncio.to_thread(log_file.read_text)
    say(said.strip())
    if status != 0:
        raise AuditError(f"orders verify --audit ended with status {status}")


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options. Ends with one line and exit status 2 when one of them cannot be."""
    parser = Parser(description="Order for long: memory, descriptors and latency must not grow")
    parser.add_argument("--orders", type=whole(1, 10**9), default=_ORDERS, help="how many, in all")
    return parser.parse_args(arguments)


def main() -> None:
    """Order, and say what has grown. Exit 1 when something has, or was not charged once."""
    asked = options()
    uvloop.install()
    soak = Soak(asked.orders)
    try:
        run(soak.run(), say)
    except (PartFailedError, LoadError, AuditError, GrownError) as failure:
        say(soak.report())
        sys.exit(f"{failure}")
    except Stopped as stopped:
        end_early(stopped, f"Until then:\n{soak.report()}")
    say(soak.report())


if __name__ == "__main__":
    main()
