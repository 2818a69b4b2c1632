"""Files that share what is dear to start run in one process: with pytest-xdist each process would start one of its own.

With `--dist loadfile` a worker is given a file; of those named here it is given all of a row, one after the other.
"""

from pathlib import Path
from typing import Any, Final

import pytest
from xdist.scheduler import LoadFileScheduling

ROOT: Final = Path(__file__).parents[2]

TOGETHER: Final = (
    # The functions of today and of 67d5614, on one mongod.
    (
        *("proof/upgrade/test_commands.py", "proof/upgrade/test_mixed_archives.py"),
        *("proof/upgrade/test_old_archives.py", "proof/upgrade/test_old_state.py", "proof/upgrade/test_restored.py"),
    ),
    # The system in which every event comes twice.
    (
        *("proof/faults/test_crashes.py", "proof/faults/test_under_load.py", "proof/faults/test_whole_topic.py"),
        *("proof/faults/test_repetition.py", "proof/faults/test_dead_letters.py", "proof/faults/test_limits.py"),
    ),
    # The stack as it is.
    (
        *("tests/local/test_stack.py", "tests/local/test_demo.py", "tests/local/test_folder.py"),
        *("tests/docs/test_calls.py", "tests/examples/test_client.py", "tests/deploy/test_smoke.py"),
    ),
    # The stack that `orders` is run against.
    (
        *("tests/operate/cli/test_replay.py", "tests/operate/cli/test_dead_letters.py"),
        *("tests/operate/cli/test_event.py", "tests/operate/cli/test_verify.py", "tests/operate/test_places.py"),
        *("tests/operate/cli/test_status.py", "tests/operate/console/test_browser.py"),
    ),
    # One Kafka.
    (
        *("tests/local/stand_ins/test_kafka_source.py", "tests/local/servers/test_kafka.py"),
        "tests/local/stand_ins/test_kafka_sink_recorded.py",
        "tests/local/stand_ins/test_kafka_source_recorded.py",
    ),
)


class Sharing(LoadFileScheduling):
    """Hands out files, and rows of files."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(super()._split_scope(nodeid))


def unit(file: str) -> str:
    """Return what a worker is given as a whole: a file, named by the first of its row if it is in one."""
    return next((row[0] for row in TOGETHER if file in row), file)


@pytest.hookimpl(optionalhook=True)  # mutants are tested without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Schedule by rows where files were asked for."""
    return Sharing(config, log) if config.getvalue("dist") == "loadfile" else None
