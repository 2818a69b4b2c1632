"""A stack's folder is one stack's at a time, keeps the logs of the run before, and is all that `make clean` removes."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from local.folder import (
    ADDRESSES,
    FORMER_LOGS,
    LOGS,
    addresses,
    begin_logs,
    beside,
    locked,
    remove,
    runs,
    take,
    tell_addresses,
)
from local.settings import ROOT, SettingsError
from local.stack import Stack

PORTS = ("PORT", "SINK_PORT", "MONGODB_PORT", "KAFKA_PORT")
STOPPED = ("addresses.json", "envoy.json", "kafka-sink.json", "kafka-source.json", "otlp-to-zipkin.json", "lock")


def left_by_a_stack(folder: Path) -> Path:
    """Make the folder of a stack that has ended."""
    for name in ("logs", "logs.old", "mongodb", "kafka/data"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text("kept")
    for name in STOPPED:
        (folder / name).touch()
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project, as far as `make clean` needs it."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "Makefile", project)
    (project / "local").symlink_to(ROOT / "local")
    return project


def clean(project: Path, folder: Path | str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `make clean` there, with a LOCAL_DIR or without."""
    variables = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    return subprocess.run(
        ["make", "clean"],
        cwd=project,
        env=variables if folder is None else {**variables, "LOCAL_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def files(folder: Path) -> list[Path]:
    """Return all that is in a folder."""
    return sorted(folder.rglob("*"))


def test_make_clean_removes_the_folder_that_local_dir_names_and_no_other(project: Path) -> None:
    """Fault 26: it removed .stack, whatever LOCAL_DIR named."""
    first, second = left_by_a_stack(project / ".stack"), left_by_a_stack(project / ".stack2")
    before = files(first)
    assert clean(project, ".stack2").returncode == 0
    assert not second.exists()
    assert files(first) == before

    assert clean(project).returncode == 0
    assert not first.exists()
    assert clean(project).returncode == 0, "there is nothing to remove, which is no failure"


def test_make_clean_refuses_while_a_stack_runs_there(stack: Stack, project: Path) -> None:
    """Fault 26: nothing is removed under a running stack, and the message says which process it is."""
    before = {path for path in files(stack.folder) if "mongodb" not in path.parts and "kafka" not in path.parts}
    refused = clean(project, stack.folder)
    assert refused.returncode != 0
    assert f"a stack runs in {stack.folder} (process " in refused.stderr
    assert before <= set(files(stack.folder))


def test_a_lock_that_a_killed_stack_left_keeps_nobody_out(tmp_path: Path) -> None:
    """The kernel gives the lock free; the number in the file may be that of any process by now."""
    holder = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from local.folder import take; from pathlib import Path; take(Path({str(tmp_path)!r}))",
        ],
        cwd=ROOT,
        timeout=60,
    )
    assert holder.returncode == 0
    assert (tmp_path / "lock").read_text().strip().isdigit()
    (tmp_path / "lock").write_text("1\n")
    take(tmp_path).close()
    assert remove(tmp_path)


@pytest.fixture(params=["other things", "a part of a stack's names", "a file", "a lock alone among others"])
def no_stacks(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a path that is no stack's folder."""
    folder = tmp_path / "theirs"
    match request.param:
        case "other things":
            left_by_a_stack(folder)
            (folder / "thesis.txt").write_text("years of work")
        case "a part of a stack's names":
            (folder / "logs").mkdir(parents=True)
            (folder / "logs" / "theirs.log").touch()
        case "a file":
            folder.write_text("years of work")
        case _:
            folder.mkdir()
            (folder / "lock").touch()
            (folder / "package.json").touch()
    return folder


def test_make_clean_refuses_a_folder_that_is_no_stacks(no_stacks: Path, project: Path) -> None:
    """A LOCAL_DIR that is misspelt or too short must not cost anybody's files."""
    before = files(no_stacks.parent)
    refused = clean(project, no_stacks)
    assert refused.returncode != 0
    assert "othing is removed" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert files(no_stacks.parent) == before


@pytest.mark.parametrize("folder", ["/", ".", ".."])
def test_make_clean_refuses_folders_above_a_stacks(folder: str, project: Path) -> None:
    """These are what a slip of the hand names."""
    refused = clean(project, folder)
    assert refused.returncode != 0
    assert "no stack has put there" in refused.stderr


def test_make_clean_keeps_a_link_and_empties_what_it_leads_to(tmp_path: Path) -> None:
    """Data on another disk is found by a link, which the next stack uses again."""
    disk = left_by_a_stack(tmp_path / "disk")
    link = tmp_path / ".stack"
    link.symlink_to(disk)
    assert remove(link)
    assert files(disk) == []
    take(link).close()


def test_a_folder_that_was_removed_between_two_steps_is_taken_anew(tmp_path: Path) -> None:
    """A lock on a file that `make clean` has just removed would keep nobody out."""
    folder = tmp_path / "stack"
    removed: list[bool] = []

    def remove_first(lock: IO[str]) -> bool:
        if not removed:
            removed.append(True)
            shutil.rmtree(folder)
        return locked(lock)

    with take(folder, locked=remove_first), pytest.raises(SettingsError, match="another stack runs in"):
        take(folder)


def test_the_logs_of_the_run_before_are_kept_and_older_ones_are_not(tmp_path: Path) -> None:
    """Fault 30: who starts again after a crash still finds why; a start that wrote nothing changes nothing."""
    for run in ("first", "second", "third"):
        begin_logs(tmp_path)
        begin_logs(tmp_path)
        (tmp_path / LOGS / f"{run}.log").write_text(run)
    assert [path.name for path in files(tmp_path / FORMER_LOGS)] == ["second.log"]
    assert [path.name for path in files(tmp_path / LOGS)] == ["third.log"]


def test_logs_that_no_stack_wrote_are_not_touched(tmp_path: Path) -> None:
    """LOCAL_DIR may name a folder that somebody uses, whose logs the second start would delete."""
    (tmp_path / LOGS).mkdir()
    (tmp_path / LOGS / "access.log").touch()
    with pytest.raises(SettingsError, match="no stack has written"):
        take(tmp_path)
    (tmp_path / ADDRESSES).touch()
    take(tmp_path).close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("/sys/stack", "not permitted|denied|Read-only"),  # where even root writes nothing
        ("x" * 300, "File name too long"),
        ("\udce9", "not UTF-8"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_in_one_line(name: str, said: str, tmp_path: Path) -> None:
    """Fault 30: a traceback. `make run` says which folder, why, and how to name another."""
    (tmp_path / "file").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "local"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LOCAL_DIR": str(tmp_path / name), **dict.fromkeys(PORTS, "0")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert re.search(said, ended.stderr)
    assert "LOCAL_DIR=" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_disk_that_is_full_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder can be entered, and not be written."""

    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as without_room:
        without_room.setattr(Path, "mkdir", full)
        with pytest.raises(SettingsError, match="No space left on device: give one"):
            take(tmp_path / "stack")


def test_only_a_folder_in_which_a_stack_runs_runs(tmp_path: Path) -> None:
    """From the first step of a stack to its last, whatever files there are; looking keeps nobody out."""
    assert not runs(tmp_path / "none")
    with take(tmp_path):
        assert runs(tmp_path)
        assert runs(tmp_path)
    assert not runs(tmp_path)
    take(tmp_path).close()


def test_addresses_are_read_whole_or_not_at_all(tmp_path: Path) -> None:
    """`orders` reads them while a stack starts."""
    assert addresses(tmp_path) == {}
    tell_addresses(tmp_path, {"url": "http://127.0.0.1:8080"})
    assert addresses(tmp_path) == {"url": "http://127.0.0.1:8080"}
    (tmp_path / ADDRESSES).write_text("[1")
    assert addresses(tmp_path) == {}
    assert [path.name for path in files(tmp_path)] == [ADDRESSES]


@pytest.mark.parametrize(
    ("folder", "other"), [(".stack", ".stack3"), (".stack2", ".stack3"), ("/srv/12", "/srv/.stack2"), (".", ".stack3")]
)
def test_a_folder_beside_this_one_is_nobodys(
    folder: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice must not lead into the next refusal."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".stack2").mkdir()
    assert beside(Path(folder)) == Path(other)
