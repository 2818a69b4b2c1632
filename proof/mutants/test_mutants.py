"""The list of small mutants fits the code as it is, and the runner tells the living from the dead."""

import ast
import subprocess
from functools import cache
from pathlib import Path

import pytest

from proof.mutants.__main__ import ROOT, hunt
from proof.mutants.mutant import Mutant
from proof.mutants.mutants import MUTANTS

KINDS = ("shop/", "functions/", "operate/", "knative/")
"""What the list goes through, by the beginnings of the files' names."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_a_mutant_still_fits_the_code(mutant: Mutant) -> None:
    """Its old text is there once, and the new one is another."""
    assert mutant.mutated(ROOT) != (ROOT / mutant.file).read_text(encoding="utf-8")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.bug)
def test_a_mutants_tests_are_there(mutant: Mutant) -> None:
    """Each names a file, or a test or class in it."""
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), test
        assert not name or name.partition("[")[0] in names(file), test


@cache
def names(file: str) -> set[str]:
    """Return the functions and classes of a file, methods with their class."""
    found = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name")}
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


def test_no_mutant_is_there_twice() -> None:
    """Names are what the table shows, and edits what is tried."""
    assert len({mutant.bug for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


def test_every_part_of_the_project_has_some() -> None:
    """The shop, its functions, the command and the manifests."""
    assert all(any(mutant.file.startswith(kind) for mutant in MUTANTS) for kind in KINDS)


# --- the runner ------------------------------------------------------------------------------------------------------


LINES = "looked_at = 1\noverlooked = 1\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of two lines, with a test that looks at one of them."""
    (tmp_path / "lines.py").write_text(LINES)
    (tmp_path / "test_lines.py").write_text("import lines\n\n\ndef test_line():\n    assert lines.looked_at == 1\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    subprocess.run(("git", "init", "--quiet"), cwd=tmp_path, check=True)
    return tmp_path


def mutant(bug: str, old: str, new: str) -> Mutant:
    """Return a mutant of that project."""
    return Mutant(bug, "lines.py", old, new, ("test_lines.py",))


LOOKED_AT = mutant("noticed", "looked_at = 1", "looked_at = 2")
OVERLOOKED = mutant("unnoticed", "overlooked = 1", "overlooked = 2")
BROKEN = mutant("no Python", "looked_at = 1", "looked_at = = 1")


async def test_all_die_when_the_tests_notice_each(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table names the test that failed, and the project itself is as it was."""
    assert await hunt(project, [LOOKED_AT])
    output = capsys.readouterr().out
    assert "noticed  [test_line]" in output
    assert "1 of 1 mutants died" in output
    assert (project / "lines.py").read_text() == LINES


async def test_one_that_lives_or_tests_nothing_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mutant that no test notices, and one that keeps all tests from running, are not dead."""
    assert not await hunt(project, [LOOKED_AT, OVERLOOKED, BROKEN])
    output = capsys.readouterr().out
    assert "SURVIVED: unnoticed (lines.py)" in output
    assert "BROKE: no Python (lines.py)" in output
    assert "1 of 3 mutants died" in output


async def test_tests_that_fail_without_a_mutant_prove_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would kill every mutant."""
    (project / "lines.py").write_text("looked_at = 3\noverlooked = 1\n")
    assert not await hunt(project, [OVERLOOKED])
    assert "the tests fail without a mutant" in capsys.readouterr().out


async def test_a_mutant_of_code_that_is_gone_is_an_error(project: Path) -> None:
    """Before any test is run: absent, or there twice."""
    for old in ("absent", "ed"):
        with pytest.raises(ValueError, match="not once"):
            await hunt(project, [mutant("stale", old, "")])
