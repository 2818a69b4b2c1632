"""The slowest files begin first."""

from dataclasses import dataclass
from pathlib import Path

from tests.support.slowest_first import ROOT, SLOWEST, pytest_collection_modifyitems


@dataclass
class Item:
    """A test, of which only the file counts here."""

    path: Path
    name: str


def test_each_file_is_there_and_there_once() -> None:
    """A file that was moved would begin last again."""
    assert [file for file in SLOWEST if not (ROOT / file).is_file()] == []
    assert len(set(SLOWEST)) == len(SLOWEST)


def test_slow_files_come_first_and_nothing_else_changes_places() -> None:
    """Tests of one file stay together: a worker is given a file."""
    slow, slower, quick = (ROOT / SLOWEST[1], ROOT / SLOWEST[0], ROOT / "tests/shop/test_orders.py")
    items = [Item(quick, "a"), Item(slow, "b"), Item(quick, "c"), Item(slower, "d"), Item(slow, "e"), Item(slower, "f")]
    pytest_collection_modifyitems(items)
    assert "".join(item.name for item in items) == "dfbeac"
