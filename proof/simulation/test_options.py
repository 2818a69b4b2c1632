"""A proof that is given a number it cannot run with ends at once, with one line and exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WRONG_NUMBERS = ("-5", "0", "abc", "1.5", "1e3", "٣", "9" * 5000, "1 2", "--seed")


def run(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a proof that is expected to end at once."""
    return subprocess.run(
        [sys.executable, "-m", module, *options], cwd=ROOT, capture_output=True, text=True, timeout=100
    )


@pytest.mark.parametrize(
    ("module", "option", "wrong"),
    [
        *(("proof.simulation", "--seeds", text) for text in (*WRONG_NUMBERS, "100000000000")),
        *(("proof.simulation", "--first", text) for text in ("-5", "0", "x")),
        *(("proof.simulation", "--seed", text) for text in ("-5", "0", "x")),
        *(("proof.faults", "--minutes", text) for text in ("-5", "0", "x", "nan", "inf", "1e9")),
        *(("proof.faults", "--seed", text) for text in ("-5", "x")),
    ],
)
def test_a_number_that_is_none_is_one_line_and_exit_status_2(module: str, option: str, wrong: str) -> None:
    """Fault 30: `make simulate SEEDS=-5` ran nothing, said "0 anomalies", and ended well."""
    ended = run(module, f"{option}={wrong}")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"argument {option}: give ")
    assert ended.stderr.count("\n") == 1


def test_no_seeds_for_a_hunt_are_one_line_and_exit_status_2() -> None:
    """As many tries as none would call each mutant uncaught."""
    assert run("proof.simulation", "--mutants", "--seeds=-1").returncode == 2


@pytest.mark.parametrize("options", [("--seed=1", "--seeds=5"), ("--seed=1", "--first=5"), ("--mutants", "--seed=1")])
def test_numbers_that_contradict_each_other_are_refused(options: tuple[str, str]) -> None:
    """One of the two would be left out without a word."""
    ended = run("proof.simulation", *options)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "variable", "option"),
    [
        ("simulate", "SEEDS", "--seeds"),
        ("simulate", "FIRST", "--first"),
        ("simulate", "SEED", "--seed"),
        ("mutants", "SEEDS", "--seeds"),
        ("faults", "MINUTES", "--minutes"),
        ("faults", "SEED", "--seed"),
    ],
)
def test_make_hands_a_number_on_as_it_is(verb: str, variable: str, option: str) -> None:
    """Also one that begins with a dash or has a space in it; nothing is set up for it here."""
    shown = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/dev.done", verb, f"{variable}=-5 x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"{option}='-5 x'" in shown.stdout
