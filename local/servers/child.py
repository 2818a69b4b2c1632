"""Child processes that never outlive their parent.

Linux tells a process when its parent dies. Elsewhere (macOS) a watcher is forked beside each: it waits for the end of a
pipe whose other end only the parent has open, however that dies.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LOOK_S: Final = 1.0
"""How often a watcher looks whether whom it watches is still there."""

_MOST_OPEN: Final = 65_536
"""Descriptors that a watcher closes; the limit may be none at all."""

_forking: int | None = None
_pipe: tuple[int, int] | None = None
"""What the watchers read, and what this process has open until it ends."""


def _remember() -> None:
    global _forking
    _forking = os.getpid()


os.register_at_fork(before=_remember)


def parent_death(platform: str = sys.platform) -> Callable[[], None]:
    """Return a `preexec_fn` that has this process SIGKILLed when its parent dies, by what the platform has for that.

    Meant to be used with `start_new_session=True`: a Ctrl-C in the terminal goes to the whole foreground group, and
    children in it would die before the parent can stop them in order.
    """
    if platform == "linux":
        return _told_by_the_kernel
    _open()
    return _watched


def _told_by_the_kernel() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if _forking is not None and os.getppid() != _forking:
        os.kill(os.getpid(), signal.SIGKILL)  # it has died already, and the kernel tells of that no more


die_with_parent: Callable[[], None] = parent_death()
"""That of this machine."""


# --- where the kernel tells nothing ----------------------------------------------------------------------------------


def _open() -> None:
    """Make the pipe of this process, once, before it forks; no program that is started inherits it."""
    global _pipe
    if _pipe is None:
        _pipe = os.pipe()


def _watched() -> None:
    """Fork the watcher of this process, which is about to become a program."""
    assert _pipe is not None  # noqa: S101
    reads, writes = _pipe
    watched = os.getpid()
    if os.fork() == 0:
        os.close(writes)
        _watch(watched, reads)


def _watch(watched: int, reads: int) -> None:
    """Wait for the end of the pipe, and kill; end when whom it watches has ended, who is the parent of the watcher."""
    with contextlib.suppress(BaseException):
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # they are for whom it watches, who may take a while
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        # Whatever else was open would be kept open, the end of other pipes too.
        os.closerange(3, reads)
        os.closerange(reads + 1, min(os.sysconf("SC_OPEN_MAX"), _MOST_OPEN))
        while os.getppid() == watched:
            ended, _, _ = select.select([reads], [], [], _LOOK_S)
            if ended:
                os.kill(watched, signal.SIGKILL)
                break
    os._exit(0)
