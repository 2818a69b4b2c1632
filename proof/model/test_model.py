"""The protocol keeps its promises in every state within bounds, and each of its rules is needed."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from proof.model.configurations import CATCHES, CONFIGURATIONS, DAMAGES, Catch, Damage
from proof.model.explore import explore
from proof.model.promises import ALL, Promise
from proof.model.protocol import Basket, Moved, Mutation, Name, Payment, lacks_entries
from proof.model.world import ONE_INTENTION, Batch, Bounds, Credit, Decide, Model, Waiting, World

# What each configuration is there to reach; without it, no broken promise would mean little.
GOALS: dict[str, tuple[Promise, ...]] = {
    "orders": (
        lambda world: [basket[1:3] for basket in world.baskets] == [("paid", 3), ("paid", 3)],
        lambda world: len({decision.outcome for decision in world.decided}) == 3,
        lambda world: world.billing.user.balance == 4,
    ),
    "archive": (
        lambda world: world.billing.user.archived_through == 3 and world.baskets[-1].status == "paid",
        lambda world: len(world.in_flight) == 2 and world.in_flight[0] == world.in_flight[1],
    ),
    "numbers": (
        lambda world: world.billing.user.archived.paid_baskets == Moved(3, 3),
        lambda world: Decide(Payment(Name(1, 1), 1, 1), seen=2) in world.in_flight,
        lambda world: world.in_flight == (Decide(Payment(Name(2), 1, 1), seen=1),) * 2,
    ),
    "forged": (lambda world: [basket[1:3] for basket in world.baskets] == [("paid", 2), ("paid", 2)],),
    "group commit": (
        lambda world: any(isinstance(work, Batch) and len(work.written) == 2 for work in world.in_flight),
        lambda world: (
            world.in_flight[:1] == (Batch((Payment(Name(1), 1, 1),)),) and world.billing.user.archived_through > 0
        ),
    ),
    "deposits": (
        lambda world: world.billing.user.archived.deposits == Moved(2, 3),
        lambda world: any(
            isinstance(work, Credit) and 0 < work.seen < world.billing.user.archived.deposits.entries
            for work in world.in_flight
        ),
    ),
    "rollback": (
        lambda world: world.durable is not None and len(world.durable.baskets) == len(world.decided) == 2,
        lambda world: len({type(work.event) for work in world.in_flight if isinstance(work, Waiting)}) == 2,
    ),
    "all restored": (
        # Paid once before the restore, and once after it.
        lambda world: [basket[:3] for basket in world.baskets] == [(Name(1), "paid", 1), (Name(2, 1), "paid", 2)],
    ),
    "all restored, archives": (
        lambda world: [kept.position for kept in world.billing.paid_baskets] == [1, 2] and world.epoch == 1,
    ),
    "all restored twice": (
        # Nothing of before, and what was paid between the two.
        lambda world: [basket[:3] for basket in world.baskets] == [(Name(1, 2), "paid", 1)],
        lambda world: world.epoch == 2 and [made.epoch for made in world.billing.decisions] == [1],
    ),
    "orders restored": (
        # Number 1 was given twice, and both were paid and archived.
        lambda world: {kept.entry[0] for kept in world.billing.paid_baskets} == {Name(1), Name(1, 1)},
    ),
    "billing restored": (
        lambda world: world.baskets[:1] == (Basket(Name(1), "paid", 1, 1),) and not world.billing.decisions,
    ),
    "notify restored": (lambda world: len(world.recorded) < len(world.billing.decisions) == 4,),
    "archives restored": (lambda world: lacks_entries(world.billing, "paid_baskets"),),
    "accounts restored": (
        lambda world: world.epoch == 1 and bool(world.billing.paid_baskets) and not world.billing.decisions,
    ),
    "orders and billing restored apart": (
        lambda world: {decision.basket for decision in world.billing.decisions} == {Name(1), Name(1, 1)},
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


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_one_database_restored_by_itself_breaks_a_promise(damage: Damage) -> None:
    """With every rule in place; what stands all the same is judged by the explorations, and smaller bounds are safe."""
    found = explore(Model(damage.bounds), only=[damage.promise]).counterexample
    assert found is not None
    assert len(found.history) == damage.steps, str(found)
    for smaller in _smaller(damage.bounds):
        found = explore(Model(smaller), only=[damage.promise]).counterexample
        assert found is None, f"{smaller}\n{found}"


def test_events_of_the_lost_time_make_no_difference() -> None:
    """Kept and delivered for ever after, they lead to the very states that there are without them."""
    bounds = Bounds(attempts=2, deposits=1, restored=("all",))
    without = explore(Model(bounds))
    kept = explore(Model(replace(bounds, lost=True)))
    assert kept.counterexample is None, str(kept.counterexample)
    assert len(kept.worlds) > len(without.worlds)
    assert {_without_the_past(world) for world in kept.worlds} == set(without.worlds)


def test_every_rule_that_can_be_left_out_is_caught() -> None:
    """No mutation is without a promise that catches it."""
    assert {catch.mutation for catch in CATCHES} == set(Mutation)


def test_every_promise_can_be_broken() -> None:
    """No promise holds of everything: for each some mutation breaks it."""
    assert {catch.promise for catch in CATCHES} == set(ALL)


def test_clients_that_send_no_attempt_lose_one_promise_only() -> None:
    """A repeat after a decline is a new order of theirs; still they are charged at most once, and told the truth."""
    model = Model(Bounds(baskets=2, attempts=2, deposits=2, sums=2), Mutation.POST_WITHOUT_ATTEMPT)
    broken = explore(model, only=set(ALL) - {ONE_INTENTION}).counterexample
    assert broken is None, str(broken)


def _without_the_past(world: World) -> World:
    requested = tuple(event for event in world.requested if event.epoch == world.epoch)
    decided = tuple(event for event in world.decided if event.epoch == world.epoch)
    return world._replace(requested=requested, decided=decided)


def _smaller(bounds: Bounds) -> Iterator[Bounds]:
    """Yield bounds with one of their fields one less: a number, or the array limits, of which there is at most one."""
    for field in fields(bounds):
        value = getattr(bounds, field.name)
        if value:
            less: Any = value[:-1] if isinstance(value, tuple) else type(value)(value - 1)
            yield replace(bounds, **{field.name: less})
