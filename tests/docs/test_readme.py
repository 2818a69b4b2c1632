"""The README and what functions say of themselves are true: each claim here fails when it stops being so."""

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from proof.simulation.faults import Fault
from proof.simulation.mutants import MUTANTS
from shop.process.version import VERSION
from tests.support.functions import folders

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
FUNCTIONS = folders()


def rows() -> dict[str, list[str]]:
    """The README's table: function -> its other cells."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if line.startswith("| [")
    ]
    return {re.sub(r"\[(\w+)\].*", r"\1", name): rest for name, *rest in cells}


def label(function: str) -> dict[str, str]:
    """The label of a function: its docstring's Trigger, Once per and Emits."""
    text = (ROOT / "functions" / function / "main.py").read_text()
    return dict(re.findall(r"^(Trigger|Once per|Emits) +(.+)$", text.split('"""')[1], re.MULTILINE))


def test_the_readme_lists_every_function() -> None:
    """A row per folder, each linked to its main.py."""
    assert sorted(rows()) == FUNCTIONS
    for function in FUNCTIONS:
        assert f"[{function}](functions/{function}/main.py)" in README


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_row_says_what_the_functions_label_says(function: str) -> None:
    """The trigger and the emitted event are those of the docstring; a label has a trigger at least."""
    trigger, _, emits = rows()[function]
    said = label(function)
    if trigger.startswith("KafkaSource"):
        topic = re.search(r"`(\w+)`", trigger)
        assert topic is not None
        assert f"on topic `{topic[1]}`" in said["Trigger"]
    else:
        assert said["Trigger"] == trigger
    assert said.get("Emits", "").split(" on topic")[0] == emits


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_called_what_its_folder_is_called(function: str) -> None:
    """FUNCTION_TARGET is the folder's name."""
    spec = importlib.util.spec_from_file_location(f"documented_{function}", ROOT / "functions" / function / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(getattr(module, function))


def test_the_readme_counts_the_bugs_and_faults_of_the_simulation() -> None:
    """What the simulation can inject, and must find, is as many as the README says."""
    assert f"puts {len(MUTANTS)} known bugs into the code" in README
    assert f"faults of {len(Fault)} kinds" in README


def test_links_lead_somewhere() -> None:
    """Every relative link in the documents names a file of the project."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_make_verbs_exist_and_have_a_help_line() -> None:
    """Every `make verb` in the documents is a target that `make help` lists."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    verbs = set(re.findall(r"^  make (\w+)", listed, re.MULTILINE))
    for document in DOCUMENTS:
        for verb in re.findall(r"(?:`|\$ )make ([a-z]+)", document.read_text()):
            assert verb in verbs, f"{document.name} names make {verb}"


def test_the_first_screen_has_the_promise_whom_it_is_for_the_flow_the_table_and_the_two_commands() -> None:
    """Who opens the README scrolls once at most."""
    first = "\n".join(README.splitlines()[:60])
    for what in (
        *("exactly once", "**The idea.**", "**The one rule for clients.**", "**Who it is for.**", "not for you if"),
        *("demand no token", "Status:", "MB", "--payments--> billing_handler", "| function |"),
        *("$ make run", "$ make test"),
    ):
        assert what in first


def test_the_status_names_the_version() -> None:
    """The version is said in pyproject.toml, and repeated in the log, the README and the HTTP contract."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert f"Status: version {VERSION}" in README
    assert f"\n  version: {VERSION}\n" in (ROOT / "docs" / "openapi.yaml").read_text()


def test_no_file_names_a_package_registry() -> None:
    """Locks and scripts work unchanged behind any mirror."""
    names = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "maven" + ".org",
        "repo" + "1.",
        "npm" + "js.org",
        "maven" + ".apache",
    ]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        text = (ROOT / name).read_text(errors="replace").lower()
        for host in names:
            assert host not in text, f"{name} names {host}"
