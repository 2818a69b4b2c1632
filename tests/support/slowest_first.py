"""The files that take longest begin first: one that began last would run alone, with every other worker idle.

With `--dist loadfile --no-loadscope-reorder` pytest-xdist hands out files in the order in which their tests were
collected; by itself it begins with the files of many tests, and these have few.
"""

from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]

SLOWEST: Final = (
    "tests/deploy/test_built_image.py",  # it waits for packages while others compute
    "proof/faults/test_crashes.py",
    "proof/faults/test_under_load.py",
    "proof/faults/test_replica_set.py",
    "tests/local/test_stack.py",
    "proof/faults/test_outages.py",
    "tests/local/stand_ins/test_kafka_source.py",
    "proof/simulation/test_simulation.py",
    "proof/upgrade/test_old_archives.py",
    "tests/operate/cli/test_dead_letters.py",
    "proof/restores/test_restores.py",
    "tests/local/test_program.py",
    "proof/model/test_model.py",
    "proof/replay/test_recorded_run.py",
    "tests/operate/cli/test_halfway.py",
    "tests/local/test_ended_early.py",
    "proof/mutants/test_mutants.py",
)
"""Files of half a minute or more, the slowest first; `--durations=0` shows which others belong here. A file that shares
its processes with others (tests.support.shared_processes) takes those along."""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Put the tests of these files first, and leave all others in their order."""
    places = {ROOT / file: place for place, file in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
