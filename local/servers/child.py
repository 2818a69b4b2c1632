"""Child processes that never outlive their parent, and ports for them."""

import ctypes
import os
import random
import signal
import socket

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


FREE_PORTS = range(20_000, 32_768)
_given: set[int] = set()


def free_port() -> int:
    """Find a port on 127.0.0.1 that nobody listens on; another at each call, for the last may be about to be used.

    It lies below the range from which Linux takes the ports of outgoing connections (32768 and up): while a server is
    down, a client that keeps reconnecting to a port in that range may be given that very port, and block it.
    """
    # Not from the common generator: tests seed that one.
    for port in random.SystemRandom().sample(sorted(set(FREE_PORTS) - _given), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError(f"no free port between {FREE_PORTS.start} and {FREE_PORTS.stop - 1} on 127.0.0.1")
