"""docs/faults.md lists what proof/faults shows: each line its test, each test its line.

A test elsewhere is named with its folder, `tests/local/test_settings.py::...`; not each test outside proof/faults has a
line.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "faults.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| fault |", "| limit |", "| ---"))
]
NAMED = {row[0]: row[-1].strip("`| ") for row in ROWS}


LIST = """
import sys, pytest

class Lister:
    def pytest_collection_finish(self, session):
        for item in session.items:
            print("TEST", any(map(item.get_closest_marker, ("long", "ci"))), item.nodeid)

sys.exit(pytest.main([*sys.argv[1:], "--collect-only", "--quiet", "-m", ""], plugins=[Lister()]))
"""
"""Prints each test with whether `make test` leaves it out."""


@pytest.fixture(scope="module")
def collected() -> dict[str, bool]:
    """The tests that pytest would run, by file and name: of proof/faults, and of each file elsewhere with a line.

    Those that `make test` leaves out are included, and are True.
    """
    files = {named.partition("::")[0] for named in NAMED.values()}
    existing = [file for file in sorted(files) if "/" in file and (ROOT / file).exists()]
    command = [sys.executable, "-c", LIST, "proof/faults", *existing]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=110).stdout
    return {
        test.removeprefix("proof/faults/"): long == "True"
        for long, test in re.findall(r"^TEST (True|False) (.+)$", listed, re.MULTILINE)
    }


def covers(named: str, test: str) -> bool:
    """Whether a line that names a test, or all parameters of one, means this test."""
    return test == named or test.startswith(f"{named}[")


@pytest.mark.parametrize("fault", NAMED)
def test_each_line_names_a_test_that_is_run(collected: dict[str, bool], fault: str) -> None:
    """A line without its test is a claim, not a fact; it says (long) when `make test` runs none of them."""
    shown = [long for test, long in collected.items() if covers(NAMED[fault], test)]
    assert shown, NAMED[fault]
    assert fault.endswith("(long)") == all(shown), NAMED[fault]


def test_each_test_of_tests_faults_has_its_line(collected: dict[str, bool]) -> None:
    """Who reads the list knows all that was tried."""
    of_faults = [test for test in collected if "/" not in test.partition("::")[0]]
    assert of_faults
    assert [test for test in of_faults if not any(covers(named, test) for named in NAMED.values())] == []


def test_each_line_has_its_four_cells() -> None:
    """A fault, what the user sees, what heals it and when, and the test."""
    assert {len(row) for row in ROWS} == {4}
    assert all(all(row) for row in ROWS)
