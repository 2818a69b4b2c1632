"""docs/architecture.md is a map of what there is: folders, functions, states. The table of imports has its own test."""

import re
import subprocess
from pathlib import Path
from typing import get_args

from shop.state import Status
from tests.support.functions import folders

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs" / "architecture.md").read_text()
PICTURES = re.findall(r"```mermaid\n(.*?)```", MAP, re.DOTALL)


def picture(kind: str) -> str:
    """Return the first picture of a kind."""
    return next(picture for picture in PICTURES if picture.startswith(kind))


def test_every_folder_of_the_map_exists_and_every_folder_is_on_it() -> None:
    """A folder that nobody can look up is found by nobody."""
    cells = re.findall(r"^\|([^|]+)\|", MAP.partition("\n## Folders\n")[2].partition("\n## ")[0], re.MULTILINE)
    listed = {name for cell in cells for name in re.findall(r"`([\w/]+)/`", cell)}
    assert [name for name in listed if not (ROOT / name).is_dir()] == []
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name.partition("/")[0] for name in tracked.split("\0") if "/" in name and not name.startswith(".")}
    assert names - listed == set()


def test_the_picture_of_what_runs_where_has_every_function() -> None:
    """Each folder of functions/ is a box, in the service whose database it works on."""
    flow = picture("flowchart")
    grouped = re.findall(r"^        (.+?) --- \w+_db", flow, re.MULTILINE)
    assert sorted(name for group in grouped for name in group.split(" & ")) == folders()


def test_the_picture_of_states_has_the_statuses() -> None:
    """No more, and no fewer."""
    states = set(re.findall(r"\b(\w+) --> |--> (\w+)", picture("stateDiagram")))
    assert {name for pair in states for name in pair if name} == set(get_args(Status))


def test_how_to_add_something_names_files_that_there_are() -> None:
    """Each paragraph names three files, and nobody looks for one in vain."""
    paragraphs = MAP.partition("\n## How to add something\n")[2].strip().split("\n\n")
    assert [paragraph.split(".")[0] for paragraph in paragraphs] == [
        "**A function",
        "**An event",
        "**A field",
        "**Another transport",
    ]
    for paragraph in paragraphs:
        named = re.findall(r"`([\w/-]+/[\w-]+\.\w+)`", paragraph)
        assert len(named) >= 2, paragraph
        assert [name for name in named if not (ROOT / name).is_file()] == []
