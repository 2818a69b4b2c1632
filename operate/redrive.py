"""Send dead letters again to the consumer that failed, boundedly, and park what is to rest.

It can be interrupted anywhere and run again, by anybody: each replay is counted in the topic *before* the event is
sent, so no crash makes more of them than the bound; what was taken shows in the databases, as healed. Only what was
refused counts for that bound, and what nobody knows the end of: an answer of "later" is taken back from the count.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from operate import letters
from operate.deliver import Pace, Target, send_all, together
from operate.letters import Letter
from operate.places import DEAD_LETTERS
from operate.running import RunningShop
from wire.event import Event

PARKING: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
"""What a reason to park a letter looks like: it becomes an attribute of an event, which are ASCII."""

_MARKS_AT_ONCE: Final = 8  # KafkaSink takes as many from one function


@dataclass
class Redriven:
    """What became of the letters."""

    delivered: int = 0
    refused: int = 0
    parked: int = 0
    left: int = 0
    outdated: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many became what."""
        return {name: getattr(self, name) for name in ("delivered", "refused", "parked", "left", "outdated")}

    @property
    def is_whole(self) -> bool:
        """Whether nothing undelivered was refused, parked or left."""
        return not (self.refused or self.parked or self.left)

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**self.counts, "reasons": dict(self.reasons)}


@dataclass(frozen=True)
class Bounds:
    """How often each letter is redriven, how many at once, and how many a second."""

    replays: int
    concurrency: int
    rate: float | None


async def redrive(
    running: RunningShop, todo: Sequence[Letter], bounds: Bounds, redriven: Redriven, step: Callable[[], None]
) -> None:
    """Redrive letters, one consumer after the other, and count what became of them. Raises NotReachable."""
    async with running.sink(DEAD_LETTERS) as graveyard:
        for consumer in dict.fromkeys(letter.consumer for letter in todo):
            async with running.function(consumer) as target:
                work = _Redriving(target, graveyard, bounds.replays, Pace(bounds.rate), redriven, step)
                waiting = iter([letter for letter in todo if letter.consumer == consumer])
                await together(work.on(waiting) for _ in range(bounds.concurrency))


@dataclass
class _Redriving:
    """The redrive of one consumer's letters."""

    target: Target
    graveyard: Target
    max_replays: int
    pace: Pace
    redriven: Redriven
    step: Callable[[], None]
    unwell: bool = False
    """Whether the consumer has asked for its events later: then the others are left for another time."""

    async def on(self, waiting: Iterator[Letter]) -> None:
        """Redrive letters until there are no more."""
        for letter in waiting:
            await self.pace.wait()
            if self.unwell:
                self.redriven.left += 1
            else:
                await self._redrive(letter)
            self.step()

    async def _redrive(self, letter: Letter) -> None:
        """Count the replay, send the event, and note why it was refused; park the letter after the last time."""
        if letter.refusals >= self.max_replays:
            await self._note(letters.mark(letter, parked=f"refused {letter.refusals} times"))
            self.redriven.parked += 1
            return
        letter = replace(letter, replays=letter.replays + 1)
        await self._note(letters.mark(letter))
        answer = await self.target.send(letters.to_redrive(letter))
        if answer.accepted:
            self.redriven.delivered += 1
            return
        self.redriven.reasons[answer.reason] += 1
        if answer.later:
            self.unwell = True
            self.redriven.left += 1
            await self._note(letters.mark(replace(letter, later=letter.later + 1)))
            return
        last = letter.refusals >= self.max_replays
        parked = f"refused {letter.refusals} times" if last else ""
        await self._note(letters.mark(letter, code=str(answer.status), reason=answer.reason, parked=parked))
        self.redriven.refused += 1
        self.redriven.parked += last

    async def _note(self, mark: Event) -> None:
        self.graveyard.insist(await self.graveyard.send(mark))


def park(running: RunningShop, todo: Sequence[Letter], reason: str) -> None:
    """Mark letters as parked. Raises NotReachable when not all marks were taken."""
    if marks := [letters.mark(letter, parked=reason) for letter in todo]:
        graveyard = running.sink(DEAD_LETTERS)
        asyncio.run(send_all(graveyard, marks, lambda _, answer: graveyard.insist(answer), concurrency=_MARKS_AT_ONCE))
