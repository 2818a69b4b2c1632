"""Every state within bounds, breadth first, so that the first history found to break a promise is a shortest one."""

from collections.abc import Collection
from dataclasses import dataclass

from proof.model.promises import judge, promised
from proof.model.world import Model, World


@dataclass(frozen=True)
class Counterexample:
    """A promise, and a shortest history that breaks it."""

    promise: str
    history: tuple[str, ...]

    def __str__(self) -> str:
        steps = "\n".join(f"{number:3}  {step}" for number, step in enumerate(self.history, 1))
        return f"broken: {self.promise}\n{steps}"


@dataclass(frozen=True)
class Exploration:
    """All states there are and the number of steps between them, or what was seen until a promise broke."""

    worlds: Collection[World]
    steps: int
    counterexample: Counterexample | None = None


def explore(model: Model, only: Collection[str] = ()) -> Exploration:
    """Visit every reachable state, judge it and each step, and stop at the first broken promise.

    What is judged is what is promised within the bounds, or, when `only` names promises, just these. The search ends,
    for within bounds there are finitely many orders, deposits, decisions and restores, and every other part of a state
    is a choice among them.
    """
    judged = only or promised(model.bounds)
    first_broken = judge(model, judged)
    came_from: dict[World, World | None] = {model.start(): None}
    frontier = list(came_from)
    steps = 0
    while frontier:
        found: list[World] = []
        for world in frontier:
            for step in model.steps(world):
                steps += 1
                after = step.world
                broken = step.broken if step.broken in judged else None
                if after is not world and not broken and after not in came_from:
                    came_from[after] = world
                    found.append(after)
                    broken = first_broken(world, after)
                if broken:
                    history = (*_history(model, came_from, world), str(step))
                    return Exploration(came_from, steps, Counterexample(broken, history))
        frontier = found
    return Exploration(came_from, steps)


def _history(model: Model, came_from: dict[World, World | None], world: World) -> tuple[str, ...]:
    """Name the steps to a state, by taking them again: keeping every name would cost more than the states."""
    history: list[str] = []
    while (before := came_from[world]) is not None:
        history.append(next(str(step) for step in model.steps(before) if step.world == world))
        world = before
    return tuple(reversed(history))
