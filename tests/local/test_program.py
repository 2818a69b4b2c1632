"""A program with processes of its own ends in order, whatever asks it to, and whoever still listens to it."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from local.servers.child import die_with_parent
from local.settings import ROOT

START_S = 100  # a stack is ready within 10 s on an idle machine
END_S = 60  # it ends within 3 s there

ENDS_SLOWLY = """
import asyncio, os, sys, time
from local.program import Stopped, Voice, run, say

voice = Voice()
told = voice.say if "voice" in sys.argv else say

async def main():
    try:
        told(f"Ready {os.getpid()}")
        if "chatty" in sys.argv:
            while True:
                told("x" * 1000)
                await asyncio.sleep(0.001)
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.6)
        sys.stderr.write("ended in order\\n")

try:
    run(main(), told)
except Stopped as stopped:
    told(f"by {stopped}")
    voice.finish()
    sys.exit(stopped.status)
"""


class Program:
    """A process, what it has printed, and whether it has left anything."""

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self.process = process
        self.output = output
        self.said = ""

    def reads(self, pattern: str, timeout_s: float) -> str:
        """Read what it prints until a line fits; return that line."""
        until = time.monotonic() + timeout_s
        while not (found := re.search(rf"^.*(?:{pattern}).*\n", self.said, re.MULTILINE)):
            assert time.monotonic() < until, f"no {pattern} within {timeout_s} s: {self.said}"
            more = self._read()
            assert more, f"it ended without {pattern}: {self.said}"
            self.said += more
        return found[0]

    def _read(self) -> str:
        try:
            return os.read(self.output, 4096).decode().replace("\r\n", "\n")
        except OSError:  # a terminal whose other end was closed
            return ""

    def rest(self) -> str:
        """Read to the end."""
        while more := self._read():
            self.said += more
        return self.said

    def hang_up(self) -> None:
        """Read nothing any more. Once: the number of what was closed may be another file's by now."""
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def ends(self, timeout_s: float = END_S) -> int:
        """Wait for its end, and return its exit status."""
        return self.process.wait(timeout_s)


@contextlib.contextmanager
def started(command: Sequence[str | Path], *, terminal: bool = False, **variables: str) -> Iterator[Program]:
    """Start a program in a session of its own, with a terminal of its own if it is to have one; kill it in the end."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    own = {name: value for name, value in os.environ.items() if name not in ("MONGODB_URI", "MAKEFLAGS", "MAKELEVEL")}

    def prepare() -> None:
        os.setsid()
        if terminal:
            os.close(os.open(os.ttyname(theirs), os.O_RDWR))  # the first one that a session opens is its terminal
        die_with_parent()

    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**own, **variables},
        stdin=theirs if terminal else subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs if terminal else subprocess.PIPE,
        preexec_fn=prepare,
    )
    os.close(theirs)
    program = Program(process, ours)
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
        program.hang_up()


def slow(*arguments: str, terminal: bool = False) -> contextlib.AbstractContextManager[Program]:
    """Start a program that takes 0.6 s to end in order."""
    return started([sys.executable, "-c", ENDS_SLOWLY, *arguments], terminal=terminal)


def in_order(program: Program) -> bool:
    """Whether the program has come to its last line."""
    assert program.process.stderr
    said = program.process.stderr.read()
    assert b"Traceback" not in said, said.decode()
    return b"ended in order" in said


@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGINT],
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGTERM] * 3,
        [signal.SIGHUP, signal.SIGTERM, signal.SIGHUP],
        [signal.SIGTERM, signal.SIGINT],
    ],
    ids=lambda signals: "+".join(number.name for number in signals),
)
def test_being_asked_to_end_once_or_more_is_to_end_in_order(signals: list[signal.Signals]) -> None:
    """Supervisors signal the group and each process in it; the first signal says how it ended."""
    with slow() as program:
        program.reads("Ready", 20)
        for number in signals:
            program.process.send_signal(number)
            time.sleep(0.1)
        assert program.ends() == 128 + signals[0]
        assert in_order(program)
        assert program.rest().count("stopping") == 1


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    """Who types it a second time will not wait."""
    with slow(terminal=True) as program:
        program.reads("Ready", 20)
        os.write(program.output, b"\x03")
        program.reads("a second Ctrl-C ends it at once", 20)
        os.write(program.output, b"\x03")
        assert program.ends() == -signal.SIGINT
        assert "in order" not in program.rest()


@pytest.mark.parametrize("voice", [(), ("voice",)], ids=["say", "Voice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_output_that_nobody_reads_any_more_is_no_obstacle(number: signal.Signals, voice: tuple[str, ...]) -> None:
    """Fault 27: the handler failed on its own message."""
    with slow(*voice) as program:
        program.reads("Ready", 20)
        program.hang_up()
        program.process.send_signal(number)
        assert program.ends() == 128 + number if voice else 128 + signal.SIGPIPE
        assert in_order(program)


def test_a_program_that_only_prints_ends_when_nobody_reads_it() -> None:
    """`make demo | head` gives the terminal back."""
    with slow("chatty") as program:
        program.reads("Ready", 20)
        program.hang_up()
        assert program.ends() == 128 + signal.SIGPIPE
        assert in_order(program)


def test_a_reader_who_pauses_holds_up_nothing_but_the_lines() -> None:
    """Ctrl-S, or a pager: a stack must supervise its parts, and hear a signal, all the same."""
    with slow("voice", "chatty") as program:
        program.reads("Ready", 20)
        time.sleep(1)  # the pipe is full after a tenth of it
        program.process.terminate()
        assert program.ends() == 128 + signal.SIGTERM
        assert in_order(program)


@pytest.mark.parametrize(("nohup", "lives"), [(False, False), (True, True)])
def test_a_program_ends_in_order_with_its_parent_unless_it_is_told_to_stay(nohup: bool, lives: bool) -> None:
    """Fault 28: a stack that a test started ran on for eighty minutes after the test run had died."""
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN)" if nohup else "pass"
    parent = f"import signal, subprocess, sys; {ignore}; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with started([sys.executable, "-c", parent, ENDS_SLOWLY]) as program:
        pid = int(program.reads("Ready", 20).split()[1])
        program.process.kill()
        program.ends()
        if lives:
            time.sleep(2.5)
            os.kill(pid, signal.SIGTERM)
            assert "by SIGTERM" in program.rest()
        else:
            assert "by its parent has ended" in program.rest()


# The real stack. By default one way to end it is tried: the others differ in what the programs above have shown.


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Return the settings of a stack that collides with no other."""
    free = dict.fromkeys(("PORT", "MONGODB_PORT", "KAFKA_PORT", "SINK_PORT"), "0")
    return {**free, "LOCAL_DIR": str(tmp_path / "stack")}


def parts(folder: Path) -> list[int]:
    """Return the processes of the parts: those that write a log of this stack."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "fd" / "1").readlink().parent == folder / "logs":
                found.append(int(process.name))
    return found


def left_in_order(variables: dict[str, Any]) -> bool:
    """Whether all parts are gone, and the last of them, mongod, was given the time to end by itself."""
    folder = Path(variables["LOCAL_DIR"])
    until = time.monotonic() + END_S
    while (left := parts(folder)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left
    return '"msg":"Shutting down","attr":{"exitCode":0}' in (folder / "logs" / "mongod.log").read_text()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_stack_whose_output_is_gone_keeps_its_parts_and_obeys_sigterm(variables: dict[str, str]) -> None:
    """Fault 27, `make run | head`: it ignored SIGTERM for ever, and gave up each part that it could not report."""
    with started([sys.executable, "-m", "local"], **variables) as program:
        program.reads("Ready", START_S)
        program.hang_up()
        folder = Path(variables["LOCAL_DIR"])
        before = set(parts(folder))
        os.kill(min(before), signal.SIGKILL)
        until = time.monotonic() + END_S
        while len(set(parts(folder)) - {min(before)}) < len(before):
            assert time.monotonic() < until, "it was not started again"
            time.sleep(0.05)
        program.process.terminate()
        assert program.ends() == 0
        assert left_in_order(variables)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_sigterm_to_the_whole_group_of_make_run_stops_in_order(variables: dict[str, str]) -> None:
    """Fault 27, `timeout`, systemd, CI: it comes from the group and from make, and the second one killed everything."""
    with started(["make", "run"], **variables) as program:
        program.reads("Ready", START_S)
        program.reads("Console: http://127.0.0.1:", END_S)
        os.killpg(program.process.pid, signal.SIGTERM)
        time.sleep(0.3)  # else the two may become one
        os.killpg(program.process.pid, signal.SIGTERM)
        program.ends()
        assert "Stopped; `make run` finds the data again" in program.rest()
        assert left_in_order(variables)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_terminal_that_is_closed_stops_make_run_in_order(variables: dict[str, str]) -> None:
    """Fault 27: SIGHUP killed it, and with it everything it had started."""
    with started(["sh", "-c", "make run; true"], terminal=True, **variables) as program:
        program.reads("Ready", START_S)
        program.hang_up()
        program.ends()
        assert left_in_order(variables)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_ctrl_c_stops_make_run_in_order(variables: dict[str, str]) -> None:
    """It goes to make and to the stack alike."""
    with started(["make", "run"], terminal=True, **variables) as program:
        program.reads("Ready", START_S)
        os.write(program.output, b"\x03")
        program.ends()
        assert "Stopped; `make run` finds the data again" in program.rest()
        assert left_in_order(variables)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_stack_ends_in_order_with_the_test_run_that_started_it(variables: dict[str, str]) -> None:
    """Fault 28: nobody would ever have stopped it."""
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'local'])"
    with started([sys.executable, "-c", parent], **variables) as program:
        program.reads("Ready", START_S)
        program.process.kill()
        program.ends()
        assert left_in_order(variables)
