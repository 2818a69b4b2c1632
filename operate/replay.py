"""Deliver recorded events again, in any order and number, and find what that changed.

A handler is idempotent when nothing changes.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from operate.difference import Difference, States
from operate.epochs import Chosen
from operate.errors import NotReachable
from operate.places import CONSUMERS
from operate.tally import Tally
from operate.topics import Topics
from wire.event import Event

LISTED: Final = 1000
"""The differences that are kept; more of them are counted."""

_POLL_S: Final = 0.5  # sources commit every 5 s


@dataclass(frozen=True)
class Plan:
    """How often events are delivered, and in which order; the same seed, the same deliveries."""

    seed: int
    twice: bool = False
    shuffle: bool = False
    drop: float = 0
    duplicate: float = 0

    def deliveries(self, events: list[int]) -> list[int]:
        """Return which events are delivered, in which order, by their numbers in the file."""
        chance = random.Random(self.seed)  # noqa: S311 - nobody has to be unable to guess it
        deliveries = events * (2 if self.twice else 1)
        deliveries = [each for each in deliveries if chance.random() >= self.drop]
        deliveries = [each for one in deliveries for each in [one] * (1 + (chance.random() < self.duplicate))]
        if self.shuffle:
            chance.shuffle(deliveries)
        return deliveries


def wait_for_consumers(topics: Topics, limit_s: float) -> None:
    """Wait until the consumers have acknowledged all that the topics hold: until then the state is on its way.

    Raises:
        NotReachable: they have not, within this time.

    """
    groups = {name: consumer.topic for name, consumer in CONSUMERS.items()}
    deadline = time.monotonic() + limit_s
    while behind := topics.lag(groups):
        if time.monotonic() > deadline:
            raise NotReachable(
                f"the consumers are {behind} events behind after {limit_s:.0f} s: start them, or use --wait"
            )
        time.sleep(_POLL_S)


@dataclass
class Comparison:
    """What of the documents that were looked at is not as it was."""

    before: str
    after: str
    """Hashes of all of them."""

    documents: int
    due_for_resend: int
    changed_documents: int = 0
    differences: list[Difference] = field(default_factory=list)

    @classmethod
    def of(cls, states: States, due_for_resend: int) -> "Comparison":
        """Compare before and after."""
        found = cls(states.digest("before"), states.digest("after"), states.size("before"), due_for_resend)
        for difference in states.differences():
            if difference.fields:  # the order of fields alone is no difference
                found.changed_documents += 1
                if len(found.differences) < LISTED:
                    found.differences.append(difference)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return vars(self) | {"differences": [difference.as_json() for difference in self.differences]}


@dataclass
class Replayed(Tally):
    """What was delivered, what was answered, and what it changed."""

    chosen: Chosen
    seed: int
    seconds: float = 0.0
    applied: int = 0
    declined: int = 0
    comparison: Comparison | None = None

    def deliver(
        self, events: Iterable[Event], *, concurrency: int, rate: float | None, step: Callable[[], None]
    ) -> None:
        """Deliver events, count the answers, and see how long it takes. Raises NotReachable."""
        begun = time.monotonic()
        super().deliver(events, concurrency=concurrency, rate=rate, step=step)
        self.seconds = round(time.monotonic() - begun, 3)

    def compare(self, states: States, due_for_resend: int, *, documents: bool) -> None:
        """Count effects and, if asked for, find the documents that differ."""
        self.applied, self.declined = states.taken["after"].since(states.taken["before"])
        if documents:
            self.comparison = Comparison.of(states, due_for_resend)

    @property
    def counts(self) -> dict[str, int]:
        """Return what became of the deliveries; what was accepted and changed nothing were repetitions."""
        return {
            "applied": self.applied,
            "changed nothing": max(0, self.accepted - self.applied - self.declined),
            "declined": self.declined,
            "rejected": self.rejected,
            "failed": self.failed,
            "retried": self.retried,
        }

    @property
    def answers(self) -> dict[str, int]:
        """Return what was answered, whatever that changed."""
        return {name: getattr(self, name) for name in ("accepted", "rejected", "failed", "retried")}

    def as_json(self, *, stopped: bool = False) -> dict[str, Any]:
        """Return it for JSON, and for an expectation to match; what it changed is not known when it was stopped."""
        told: dict[str, Any] = {"to": self.target.url, "events": self.chosen.total, "older_epoch": self.chosen.older}
        told |= {"deliveries": self.total, "seed": self.seed}
        if stopped:
            told |= {"stopped": True, "answered": self.answered, "unanswered": self.unanswered}
            told |= {"not_sent": self.not_sent, **self.answers}
        else:
            told |= {name.replace(" ", "_"): number for name, number in self.counts.items()}
        told |= {"seconds": self.seconds, "reasons": self.frequent_reasons}
        return told | (self.comparison.as_json() if self.comparison else {})

    def complaints(self, wanted: object, *, expect_noop: bool) -> Iterator[str]:
        """Say where it is not what was expected, or proves nothing."""
        yield from (f"not as expected: {mismatch}" for mismatch in mismatches(wanted, self.as_json()))
        if expect_noop and self.failed:
            yield f"{self.failed} deliveries were never taken, so nothing is proved about them"
        if expect_noop and not self.accepted:
            yield "no delivery was accepted, so nothing is proved; is it the right function?"


def mismatches(wanted: object, found: object, path: str = "") -> Iterator[str]:
    """Yield where what was found lacks, or contradicts, what was wanted; what is not named may be anything."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for name, value in wanted.items():
            inner = f"{path}.{name}" if path else str(name)
            if name in found:
                yield from mismatches(value, found[name], inner)
            else:
                yield f"{inner} is not in the outcome"
    elif isinstance(wanted, list) and isinstance(found, list):
        for value in wanted:
            if all(any(True for _ in mismatches(value, each)) for each in found):
                yield f"{path} has no entry like {value}"
    elif wanted != found:
        yield f"{path} is {found}, not {wanted}"
