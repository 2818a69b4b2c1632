"""The files that take longest begin first: one that began last would run alone, with every other worker idle.

With `--dist loadfile --no-loadscope-reorder` pytest-xdist hands out files in the order in which their tests were
collected; by itself it begins with the files of many tests, and these have few.
"""

from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]

SLOWEST: Final = (
    "proof/faults/test_replica_set.py",
    "proof/faults/test_outages.py",
    "proof/upgrade/test_rollout.py",
    "tests/local/test_program.py",
    "proof/faults/test_crashes.py",
    "tests/operate/cli/test_halfway.py",
    "proof/faults/test_under_load.py",
    "proof/upgrade/test_commands.py",
    "tests/local/test_stack.py",
    "tests/local/test_ended_early.py",
    "tests/local/stand_ins/test_kafka_source.py",
    "proof/simulation/test_simulation.py",
    "proof/mutants/test_mutants.py",
    "tests/local/servers/test_kafka.py",
    "tests/knative/test_schemas.py",
    "proof/replay/test_recorded_run.py",
)
"""Files of most of a minute or more, the slowest first; `--durations=0` shows which others belong here."""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Put the tests of these files first, and leave all others in their order."""
    places = {ROOT / file: place for place, file in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
