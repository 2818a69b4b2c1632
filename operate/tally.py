"""Deliver many events to one target, and count what was answered."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from operate.deliver import Answer, Target, send_all
from wire.event import Event

_REASONS: Final = 10  # the most frequent ones; the rest are variations


@dataclass
class Tally:
    """How many events were delivered to a target, and what was answered."""

    target: Target
    total: int
    """How many there are to deliver."""

    accepted: int = field(default=0, init=False)
    rejected: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    """Given up after retries."""

    retried: int = field(default=0, init=False)
    statuses: Counter[int | None] = field(default_factory=Counter, init=False)
    reasons: Counter[str] = field(default_factory=Counter, init=False)

    def deliver(
        self, events: Iterable[Event], *, concurrency: int, rate: float | None, step: Callable[[], None]
    ) -> None:
        """Deliver events, and count the answers. Raises NotReachable."""

        def told(_: Event, answer: Answer) -> None:
            self.count(answer)
            step()

        asyncio.run(send_all(self.target, events, told, concurrency=concurrency, rate=rate))

    def count(self, answer: Answer) -> None:
        """Count one answer."""
        self.statuses[answer.status] += 1
        self.retried += answer.attempts > 1
        self.accepted += answer.accepted
        self.failed += answer.later
        if not answer.accepted:
            self.rejected += not answer.later
            self.reasons[answer.reason] += 1

    @property
    def answered(self) -> int:
        """Return how many were answered, or given up."""
        return self.statuses.total()

    @property
    def unanswered(self) -> int:
        """Return how many were on their way when it stopped: whether they were taken is not known."""
        return self.target.begun - self.answered

    @property
    def not_sent(self) -> int:
        """Return how many were left when it stopped."""
        return self.total - self.target.begun

    @property
    def frequent_reasons(self) -> dict[str, int]:
        """Return why events were refused, the most frequent reasons first."""
        return dict(self.reasons.most_common(_REASONS))
