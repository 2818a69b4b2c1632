"""How long a part may take, and how often it is played: what is compared takes turns, round by round."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

WHOLE_MINUTES: Final = 30.0
"""What all parts take at most, unless MINUTES says otherwise."""


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    minutes: float
    rounds: int
    say: Callable[[str], None]

    @property
    def scale(self) -> float:
        """How much longer everything takes than by default."""
        return self.minutes / WHOLE_MINUTES

    def seconds(self, whole: float, *, least: float = 0.2) -> float:
        """Return how long to measure what takes so many seconds by default."""
        return max(whole * self.scale, least)

    def play(self, part: str, minutes: float) -> Iterator[int]:
        """Count rounds from 1 while the part's share of the time lasts, for the longest one; the first is played."""
        begun, longest = time.monotonic(), 0.0
        until = begun + minutes * 60 * self.scale
        for number in range(1, self.rounds + 1):
            at = time.monotonic()
            if number > 1 and at + longest > until:
                self.say(f"{part}: its time is over after {number - 1} of {self.rounds} rounds")
                return
            yield number
            longest = max(longest, time.monotonic() - at)
