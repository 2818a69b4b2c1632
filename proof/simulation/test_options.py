"""A proof that is given a number it cannot run with ends at once, with one line and exit status 2."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from proof.faults import __main__ as faults
from proof.simulation import __main__ as simulation

ROOT = Path(__file__).parents[2]

WRONG_NUMBERS = ("-5", "0", "abc", "1.5", "1e3", "٣", "9" * 5000, "1 2", "--seed")

Options = Callable[[Sequence[str]], object]


def refused(options: Options, arguments: Sequence[str], said: pytest.CaptureFixture[str]) -> str:
    """Return the one line that refuses these arguments with exit status 2; nothing else is said."""
    with pytest.raises(SystemExit) as ended:
        options(arguments)
    assert ended.value.code == 2
    printed = said.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize(
    ("options", "option", "wrong"),
    [
        *((simulation.options, "--seeds", text) for text in (*WRONG_NUMBERS, "100000000000")),
        *((simulation.options, "--first", text) for text in ("-5", "0", "x")),
        *((simulation.options, "--seed", text) for text in ("-5", "0", "x")),
        *((faults.options, "--minutes", text) for text in ("-5", "0", "x", "nan", "inf", "1e9")),
        *((faults.options, "--seed", text) for text in ("-5", "x")),
    ],
)
def test_a_number_that_is_none_is_one_line_and_exit_status_2(
    options: Options, option: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fault 30: `make simulate SEEDS=-5` ran nothing, said "0 anomalies", and ended well."""
    assert refused(options, [f"{option}={wrong}"], capsys).startswith(f"argument {option}: give ")


def test_no_seeds_for_a_hunt_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """As many tries as none would call each mutant uncaught."""
    refused(simulation.options, ["--mutants", "--seeds=-1"], capsys)


@pytest.mark.parametrize("arguments", [("--seed=1", "--seeds=5"), ("--seed=1", "--first=5"), ("--mutants", "--seed=1")])
def test_numbers_that_contradict_each_other_are_refused(
    arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the two would be left out without a word."""
    refused(simulation.options, arguments, capsys)


@pytest.mark.parametrize(("module", "option"), [("proof.simulation", "--seeds=-5"), ("proof.faults", "--minutes=-5")])
def test_a_proof_reads_its_options_before_it_starts_anything(module: str, option: str) -> None:
    """The program itself ends at once, with that line and exit status 2."""
    ended = subprocess.run(
        [sys.executable, "-m", module, option], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert (ended.returncode, ended.stdout) == (2, "")
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
