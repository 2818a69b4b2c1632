"""Processes die, topics shrink and come again while customers order: nothing is lost, nothing charged twice."""

import pytest

from proof.faults.injections import LONG, SHORT
from proof.faults.rounds import play
from proof.faults.system import System

_MARKS = {"retention-passed": pytest.mark.ci, **dict.fromkeys(LONG, pytest.mark.long)}


@pytest.mark.parametrize("fault", [pytest.param(name, marks=_MARKS.get(name, ())) for name in (*SHORT, *LONG)])
async def test_under_load_no_order_is_lost_and_none_charged_twice(system: System, fault: str) -> None:
    """Each order that was answered 200 is settled and notified as billing decided; deposits - paid is the balance."""
    played = await play(system, {**SHORT, **LONG}[fault])

    assert played.anomalies == []
    assert played.paid
    assert played.declined
