"""The protocol keeps its promises in every state within bounds, and each of its rules is needed."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from tests.model.configurations import CATCHES, CONFIGURATIONS, Catch
from tests.model.explore import explore
from tests.model.promises import ALL, Promise
from tests.model.protocol import Mutation, Payment
from tests.model.world import ONE_INTENTION, Batch, Bounds, Credit, Model, Waiting

# What each configuration is there to reach; without it, no broken promise would mean little.
GOALS: dict[str, tuple[Promise, ...]] = {
    "orders": (
        lambda world: [basket[:2] for basket in world.baskets] == [("paid", 3), ("paid", 3)],
        lambda world: len({decision.outcome for decision in world.decided}) == 3,
        lambda world: world.billing.user.balance == 6,
    ),
    "archive": (
        lambda world: world.billing.user.archived_through == 3 and world.baskets[-1].status == "paid",
        lambda world: len(world.in_flight) == 2 and world.in_flight[0] == world.in_flight[1],
    ),
    "group commit": (
        lambda world: any(isinstance(work, Batch) and len(work.written) == 2 for work in world.in_flight),
        lambda world: world.in_flight[:1] == (Batch((Payment(1, 1, 1),)),) and world.billing.user.archived_through > 0,
    ),
    "deposits": (
        lambda world: world.billing.user.archived_deposits == 3,
        lambda world: any(isinstance(work, Credit) and work.seen > 1 for work in world.in_flight),
    ),
    "rollback": (
        lambda world: world.durable is not None and len(world.durable.baskets) == len(world.decided) == 2,
        lambda world: len({type(work.event) for work in world.in_flight if isinstance(work, Waiting)}) == 2,
    ),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_history_within_bounds_breaks_a_promise(name: str) -> None:
    """Every reachable state is safe and heals; they are as many as told, and what the bounds are for is among them."""
    explored = explore(Model(CONFIGURATIONS[name].bounds))
    assert explored.counterexample is None, str(explored.counterexample)
    assert len(explored.worlds) == CONFIGURATIONS[name].states
    for goal in GOALS[name]:
        assert any(goal(world) for world in explored.worlds)


@pytest.mark.parametrize("catch", CATCHES, ids=str)
def test_a_rule_left_out_breaks_a_promise(catch: Catch) -> None:
    """Without the rule a history breaks the promise, in so many steps; with it none breaks any, at the same bounds."""
    found = explore(Model(catch.bounds, catch.mutation), only=[catch.promise]).counterexample
    assert found is not None
    assert len(found.history) == catch.steps, str(found)
    intact = explore(Model(catch.bounds)).counterexample
    assert intact is None, str(intact)


@pytest.mark.parametrize("catch", CATCHES, ids=str)
def test_smaller_bounds_would_not_catch_it(catch: Catch) -> None:
    """At bounds that are smaller by one in any one respect, leaving the rule out goes unnoticed by that promise."""
    for smaller in _smaller(catch.bounds):
        found = explore(Model(smaller, catch.mutation), only=[catch.promise]).counterexample
        assert found is None, f"{smaller}\n{found}"


def test_every_rule_that_can_be_left_out_is_caught() -> None:
    """No mutation is without a promise that catches it."""
    assert {catch.mutation for catch in CATCHES} == set(Mutation)


def test_every_promise_can_be_broken() -> None:
    """No promise holds of everything: for each some mutation breaks it."""
    assert {catch.promise for catch in CATCHES} == set(ALL)


def test_clients_that_send_no_attempt_lose_one_promise_only() -> None:
    """A repeat after a decline is a new order of theirs; still they are charged at most once, and told the truth."""
    model = Model(Bounds(baskets=2, attempts=3, deposits=2, sums=2), Mutation.POST_WITHOUT_ATTEMPT)
    broken = explore(model, only=set(ALL) - {ONE_INTENTION}).counterexample
    assert broken is None, str(broken)


def _smaller(bounds: Bounds) -> Iterator[Bounds]:
    """Yield bounds with one of their fields one less: a number, or the array limits, of which there is at most one."""
    for field in fields(bounds):
        value = getattr(bounds, field.name)
        if value:
            less: Any = value[:-1] if isinstance(value, tuple) else type(value)(value - 1)
            yield replace(bounds, **{field.name: less})
