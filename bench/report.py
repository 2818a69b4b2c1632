"""The report of a run: the machine, what was promised and what was reached, and each part's tables and plots."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from bench import plots
from bench.baseline import revision
from bench.figures import Result, Target, shown, table


@dataclass(frozen=True)
class Conditions:
    """Where and when a run began, and what else the machine was doing."""

    revision: str
    began: datetime
    load: tuple[float, float, float]

    @classmethod
    def now(cls) -> Self:
        """Look before anything is started."""
        return cls(revision(), datetime.now(UTC), os.getloadavg())

    def text(self) -> str:
        """Return them as a paragraph."""
        load = ", ".join(f"{each:.2f}" for each in self.load)
        return (
            f"Revision {self.revision}, {self.began:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores of {_model()}, "
            f"Linux {platform.release()}, Python {platform.python_version()}. "
            f"Load before the start (1, 5 and 15 minutes): {load}.{self._warning()}"
        )

    def _warning(self) -> str:
        """Say when the machine had other things to do."""
        busy = self.load[0] > 0.5 * (os.cpu_count() or 1)
        return " **The machine was not quiet: only the ratios mean anything, and they little.**" if busy else ""


@dataclass
class Report:
    """A file that grows with each part."""

    file: Path
    conditions: Conditions = field(default_factory=Conditions.now)
    results: list[Result] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def write(self) -> None:
        """Write what there is by now."""
        targets = [target for result in self.results for target in result.targets]
        lines = [
            "# What `make bench` has found",
            self.conditions.text(),
            "The load, the functions, MongoDB, Kafka and Envoy share this machine, so only ratios of one run carry "
            "over to another. A figure is the median of its rounds, with the lowest and the highest in brackets; a "
            "ratio is taken round by round.",
            *(f"**{failure}**" for failure in self.failures),
            *(["## What was promised", _promised(targets)] if targets else []),
        ]
        for result in self.results:
            lines += [f"## {result.part}. {result.title}", *result.text]
            if result.plot is not None and (drawn := plots.draw(result.plot, self.file.parent)):
                lines.append(f"![{result.plot.title}]({drawn.name})")
        self.file.write_text("\n\n".join(lines) + "\n")


def _promised(targets: Sequence[Target]) -> str:
    rows = [
        [
            target.figure,
            f"{shown(target.floor, 2)}{target.unit}",
            f"{shown(target.aim, 2)}{target.unit}",
            target.measured.shown(target.unit, digits=2),
            target.verdict,
        ]
        for target in targets
    ]
    return table(["figure", "floor", "aim", "this run", "reached"], rows)


def _model() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
