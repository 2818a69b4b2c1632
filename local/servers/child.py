"""Child processes that never outlive their parent."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_forking: int | None = None


def _remember() -> None:
    global _forking
    _forking = os.getpid()


os.register_at_fork(before=_remember)


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when its parent dies; a `preexec_fn`.

    Meant to be used with `start_new_session=True`: a Ctrl-C in the terminal goes to the whole foreground group, and
    children in it would die before the parent can stop them in order.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if _forking is not None and os.getppid() != _forking:
        os.kill(os.getpid(), signal.SIGKILL)  # it has died already, and the kernel tells of that no more
