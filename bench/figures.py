"""Figures of several rounds: what lies in the middle, and how far apart they are."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> Self:
        """Sum up what was measured. Raises StatisticsError when nothing was."""
        values = sorted(samples)
        return cls(statistics.median(values), values[0], values[-1])

    def shown(self, unit: str = "", *, digits: int | None = None) -> str:
        """Return it for a table: 119 [110 to 125]."""
        low, high = shown(self.low, digits), shown(self.high, digits)
        spread = "" if low == high else f" [{low} to {high}]"
        return f"{shown(self.median, digits)}{unit}{spread}"


def shown(value: float, digits: int | None = None) -> str:
    """Return a number with as many digits as mean anything."""
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Compare round by round: what disturbs one round disturbs both. A round that only one has played is left out."""
    return Spread.of(a / b for a, b in zip(ours, theirs, strict=False))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all does not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


@dataclass(frozen=True)
class Target:
    """A figure that was promised, and what this run says of it."""

    figure: str
    floor: float
    aim: float
    measured: Spread
    more_is_better: bool
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Whether it was reached, by its median."""
        if self._reaches(self.aim):
            return "aim"
        return "floor" if self._reaches(self.floor) else "**missed**"

    def _reaches(self, bound: float) -> bool:
        return self.measured.median >= bound if self.more_is_better else self.measured.median <= bound


@dataclass(frozen=True)
class Plot:
    """Bars with whiskers, in groups: a group for each number of clients, say, and a bar in it for each system."""

    name: str
    """Of its file."""

    title: str
    unit: str
    groups: Sequence[str]
    bars: Mapping[str, Sequence[Spread]]
    """By what is compared, one for each group."""


@dataclass
class Result:
    """What a part has found: its text for the report, the figures it was held to, and a plot."""

    part: str
    title: str
    text: list[str] = field(default_factory=list)
    """Paragraphs and tables of Markdown."""

    targets: list[Target] = field(default_factory=list)
    plot: Plot | None = None


def method(doc: str | None) -> str:
    """Return how a part measures: what its module says of itself, below the first line."""
    return " ".join((doc or "").partition("\n\n")[2].split())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown, with numbers to the right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])
