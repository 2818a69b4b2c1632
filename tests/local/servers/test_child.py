"""A child ends with its parent, however that ends, by what each platform has for it; both ways are run here."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.servers.child import parent_death

ROOT = Path(__file__).parents[3]
PARENT = """
import subprocess, sys, time
from local.servers.child import parent_death
children = [
    subprocess.Popen(["sleep", "300"], start_new_session=True, preexec_fn=parent_death(sys.argv[1])) for _ in "abc"
]
print(*(child.pid for child in children), flush=True)
time.sleep(300)
"""
WITHIN_S = 20


def alive(process: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def in_session(leader: int) -> list[int]:
    """Return the processes of a session: a child and its watcher."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == leader and alive(int(folder.name)):
                found.append(int(folder.name))
        except ProcessLookupError:
            continue
    return found


def wait_until_gone(leaders: list[int]) -> list[int]:
    """Wait until nothing is left of sessions; return what is."""
    until = time.monotonic() + WITHIN_S
    while (left := [each for leader in leaders for each in in_session(leader)]) and time.monotonic() < until:
        time.sleep(0.1)
    return left


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_children_end_with_a_parent_that_was_killed(platform: str) -> None:
    """All of them, and whoever watched them."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, platform], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(each) for each in parent.stdout.readline().split()]
    assert len(children) == 3
    time.sleep(1.5)  # longer than a watcher waits between two looks
    assert all(map(alive, children))
    assert {len(in_session(child)) for child in children} == {1 if platform == "linux" else 2}
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert wait_until_gone(children) == []


def test_a_watcher_ends_with_whom_it_watches_and_holds_no_output_open() -> None:
    """SIGTERM to the group ends the child, and whoever reads its output sees the end of it soon."""
    begun = time.monotonic()
    child = subprocess.Popen(
        ["sleep", "300"], stdout=subprocess.PIPE, start_new_session=True, preexec_fn=parent_death("darwin")
    )
    assert len(in_session(child.pid)) == 2
    os.killpg(child.pid, signal.SIGTERM)
    assert child.communicate(timeout=WITHIN_S) == (b"", None)
    assert wait_until_gone([child.pid]) == []
    assert time.monotonic() - begun < WITHIN_S
