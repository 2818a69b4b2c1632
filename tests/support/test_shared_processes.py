"""Files that share what is dear to start run in one process."""

from tests.support.shared_processes import ROOT, TOGETHER, unit


def test_each_file_is_there_and_in_one_row() -> None:
    """A file that was moved would start a stack of its own again."""
    files = [file for row in TOGETHER for file in row]
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert len(set(files)) == len(files)


def test_a_row_is_handed_out_as_a_whole_and_every_other_file_alone() -> None:
    """By the name of its first file."""
    assert {unit(file) for file in TOGETHER[0]} == {TOGETHER[0][0]}
    assert unit("tests/shop/test_orders.py") == "tests/shop/test_orders.py"
