"""The demo, the benchmark and the faults, ended early, end in order and say what was done until then."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.local.test_program import START_S, started


def ended(module: str, at: str, number: signal.Signals, folder: Path, *arguments: str, after_s: float = 0) -> str:
    """Run a program until it prints a line, and a little longer; signal its whole group; return all that it said."""
    with started([sys.executable, "-m", module, *arguments], TMPDIR=str(folder), LOCAL_DIR=str(folder)) as program:
        program.reads(at, 2 * START_S)
        time.sleep(after_s)
        os.killpg(program.process.pid, number)
        assert program.ends() == 128 + number
        assert program.process.stderr
        assert program.process.stderr.read() == b""
        assert list(folder.iterdir()) == [], "nothing is left of its stack"
        return program.rest()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_demo_that_is_ended_early_says_how_far_it_was(tmp_path: Path) -> None:
    """Fault 27: it ended with a traceback."""
    said = ended("local.demo", r"^2\.", signal.SIGINT, tmp_path)
    assert "Stopped: SIGINT. It ended in step 2; every number that it showed was right." in said


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_benchmark_that_is_ended_early_tells_its_figures(tmp_path: Path) -> None:
    """Fault 27: all that it had measured was lost."""
    report = tmp_path.parent / "report.md"
    arguments = ("--parts", "a", "--minutes", "3", "--report", str(report))
    said = ended("bench", "a: round 1, 100 clients", signal.SIGTERM, tmp_path, *arguments)
    assert f"Stopped: SIGTERM. {report} tells what there was until then." in said
    assert "| this revision, 10 clients |" in report.read_text()
    assert "Ended early: SIGTERM." in report.read_text()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_faults_that_are_ended_early_tell_the_rounds_that_were_played(tmp_path: Path) -> None:
    """Fault 27: the table, and how many anomalies there were, after hours perhaps."""
    said = ended("proof.faults", "round   1", signal.SIGINT, tmp_path, "--minutes", "5", after_s=1)
    assert said.splitlines()[-3].split()[:2] == ["all", "1"]
    assert said.splitlines()[-2] == "6 customers not audited again"
    assert said.splitlines()[-1] == "0 anomalies; ended early: SIGINT; a round under way does not count"


@pytest.mark.parametrize(
    ("module", "arguments"), [("bench", ["--minutes", "-1"]), ("proof.faults", ["--minutes", "0"])]
)
def test_a_time_in_which_nothing_can_be_done_is_refused(module: str, arguments: list[str]) -> None:
    """Nothing done is not nothing wrong."""
    with started([sys.executable, "-m", module, *arguments]) as program:
        assert program.ends() == 2
