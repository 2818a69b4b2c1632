"""Which deliveries a replay makes, what it counts, and when it is not what was expected."""

from typing import Any

import pytest

from operate.deliver import Answer, Target
from operate.epochs import Chosen
from operate.replay import Plan, Replayed, mismatches


def deliveries(seed: int = 1, *, twice: bool = False, shuffle: bool = False, drop: float = 0, double: float = 0) -> Any:
    """Return the deliveries of three events of a file of nine."""
    return Plan(seed, twice=twice, shuffle=shuffle, drop=drop, duplicate=double).deliveries([2, 5, 7])


def test_each_event_is_delivered_as_often_as_was_asked_for() -> None:
    """Once, in the order of the file, unless something else is said."""
    assert deliveries() == [2, 5, 7]
    assert deliveries(twice=True) == [2, 5, 7, 2, 5, 7]
    assert deliveries(double=1) == [2, 2, 5, 5, 7, 7]
    assert deliveries(drop=1) == []
    many = [deliveries(seed, twice=True, shuffle=True) for seed in range(50)]
    assert {tuple(sorted(each)) for each in many} == {(2, 2, 5, 5, 7, 7)}
    assert len({tuple(each) for each in many}) > 10
    assert 100 < sum(len(deliveries(seed, drop=0.5)) for seed in range(100)) < 200
    assert 400 < sum(len(deliveries(seed, double=0.5)) for seed in range(100)) < 500


def test_an_outcome_counts_each_answer_once() -> None:
    """Accepted, rejected for good, or failed after retries; what was accepted and changed nothing is the rest."""
    replayed = Replayed(Target("http://h"), 9, Chosen([], 9, 0, 0, 0, all_epochs=False), 1)
    for status, attempts in [(200, 1), (202, 3), (422, 1), (503, 4), (None, 4), (404, 4), (400, 1)]:
        replayed.count(Answer(status, f"answer {status}", attempts))
    replayed.applied = 1
    assert replayed.counts == {
        "applied": 1,
        "changed nothing": 1,
        "declined": 0,
        "rejected": 2,
        "failed": 3,
        "retried": 4,
    }
    assert replayed.accepted == 2
    assert replayed.reasons.total() == 5


@pytest.mark.parametrize(
    ("wanted", "complaints"),
    [
        ({}, []),
        ({"applied": 2, "reasons": {"x": 1}}, []),
        ({"applied": 3}, ["applied is 2, not 3"]),
        ({"reasons": {"y": 1}}, ["reasons.y is not in the outcome"]),
        ({"list": [{"a": 1}]}, []),
        ({"list": [{"a": 2}]}, ["list has no entry like {'a': 2}"]),
        ({"list": {"a": 1}}, ["list is [{'a': 1, 'b': 2}], not {'a': 1}"]),
    ],
)
def test_an_expectation_holds_for_what_it_names(wanted: dict[str, Any], complaints: list[str]) -> None:
    """What it does not name may be anything."""
    found = {"applied": 2, "reasons": {"x": 1}, "list": [{"a": 1, "b": 2}]}
    assert list(mismatches(wanted, found)) == complaints
