"""Some seeds of the simulation, and that it can fail."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from proof.simulation.faults import Fault
from proof.simulation.mutants import MUTANTS, Mutant
from proof.simulation.simulation import Simulation, simulation

pytestmark = pytest.mark.timeout(600)  # 30 s on an idle machine; on a busy one mongod is what waits

SEEDS, MOST = 150, 600
"""As many at least, and more until each kind of fault was injected; `make simulate` runs as many as you like."""


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Simulation]:
    """Run the simulation on a mongod of its own, for its fail points."""
    async with simulation() as made:
        yield made


async def test_every_promise_holds_under_every_fault(running: Simulation) -> None:
    """Every kind of fault is injected, and none breaks a promise."""
    hits, largest_batches = Counter[Fault](), Counter[int]()
    for seed in range(1, MOST + 1):
        if seed > SEEDS and all(hits[fault] for fault in Fault):
            break
        outcome = await running.run(seed)
        if outcome.anomaly:
            pytest.fail(await running.story(seed, outcome.anomaly))
        hits.update(hit.fault for hit in outcome.hits)
        largest_batches[outcome.largest_batch] += 1
    assert [fault for fault in Fault if not hits[fault]] == []
    assert sum(runs for size, runs in largest_batches.items() if size > 1) > SEEDS / 4


async def test_a_seed_is_its_history(running: Simulation) -> None:
    """The same seed runs the same way again, so that a failure can be looked at."""
    for seed in range(1, 5):
        first, second = await running.run(seed), await running.run(seed)
        assert first.history == second.history
        assert len(first.history) > 5


async def test_a_bug_is_caught_and_told(running: Simulation) -> None:
    """A bug breaks a promise within 50 seeds; the story is no longer than the run, and names the command."""
    bug = next(mutant for mutant in MUTANTS if mutant.bug == "a decline is not final")
    with bug.applied():
        for seed in range(1, 51):
            outcome = await running.run(seed)
            if outcome.anomaly:
                story = await running.story(seed, outcome.anomaly)
                assert f"make simulate SEED={seed}" in story
                assert story.count("\n") <= len(outcome.history) + 3
                return
    pytest.fail("not caught")


async def test_a_run_that_hangs_is_ended_and_told(running: Simulation) -> None:
    """Where it stood is in the story, and the next run is as good as any."""
    outcome = await running.run(1, most_s=0.01)
    assert outcome.anomaly is not None
    assert outcome.anomaly.startswith("it hangs: ")
    assert outcome.anomaly in await running.story(1, outcome.anomaly)
    assert (await running.run(1)).anomaly is None


@pytest.mark.long
def test_a_long_simulation_that_is_ended_early_says_how_to_go_on() -> None:
    """After some of the seeds: the table of what they met, the seeds that are left, and no worker stays."""
    command = [sys.executable, "-m", "proof.simulation", "--first", "501", "--seeds", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            assert any(" of 100000 seeds" in line for line in running.stdout)  # the first one, then no more
            running.terminate()  # as Ctrl-C, which a process started in the background does not get
            told, _ = running.communicate(timeout=100)  # to its end: a worker left behind would keep it open
        finally:
            running.kill()  # does nothing to one that has ended
    assert running.returncode == 130
    assert "source: delivered twice" in told
    left = re.search(r"to go on: make simulate FIRST=(\d+) SEEDS=(\d+)", told)
    assert left is not None
    assert int(left[1]) >= 501
    assert int(left[1]) + int(left[2]) == 100_501


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_a_mutant_still_edits_the_code(mutant: Mutant) -> None:
    """The text that a mutant edits is in the code, once."""
    with mutant.applied():
        pass
