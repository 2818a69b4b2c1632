"""Ports to listen on: the ones asked for, or free ones."""

import errno
import random
import socket
from collections.abc import Callable, Mapping
from typing import Final

from local.settings import Settings, SettingsError

FREE_PORTS: Final = range(20_000, 32_768)
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


def refusal(port: int) -> int | None:
    """Try to listen on a port; return the number of the error, or None when nothing was wrong."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections just closed do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno
    return None


class Ports:
    """Hands out ports of 127.0.0.1, each once.

    `offer` finds a port that nobody listens on, and `refused` says what is wrong with one.
    """

    def __init__(self, offer: Callable[[], int] = free_port, refused: Callable[[int], int | None] = refusal) -> None:
        self._offer = offer
        self._refused = refused
        self._taken: set[int] = set()

    def free(self) -> int:
        """Return a port that nobody listens on."""
        for _ in range(100):
            port = self._offer()
            if port not in self._taken:
                self._taken.add(port)
                return port
        raise OSError("no free port that is not taken by another part of the stack")

    def again(self, port: int | None) -> int:
        """Return this port, which a former run had, if it can be had again; else, or for None, a free one."""
        if port is None or port in self._taken or self._refused(port) is not None:
            return self.free()
        self._taken.add(port)
        return port

    def claim(self, settings: Settings) -> dict[str, int]:
        """Return the ports that were asked for, by their variables, and a free one for each that is 0.

        To be called first: whatever is handed out before may be one of them.

        Raises:
            SettingsError: some cannot be used; the message names them all, and ends with a command line that can.

        """
        others = self.instead(settings.ports)
        if others:
            faults = [self._fault(variable, port, settings.ports) for variable, port in settings.ports.items() if port]
            raise SettingsError("\n".join([*filter(None, faults), f"Or choose free ports: {settings.command(others)}"]))
        self._taken.update(settings.ports.values())
        return {variable: port or self.free() for variable, port in settings.ports.items()}

    def instead(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Return a port close by for each that cannot be used, or that one before it wants, too, by their variables."""
        others: dict[str, int] = {}
        seen: set[int] = set()
        for variable, port in wanted.items():
            if port != 0 and (port in seen or self._refused(port) is not None):
                avoided = {*wanted.values(), *others.values()}
                near = range(max(port + 1, 8080), 2**16)  # those below 1024 need root
                usable = (each for each in near if each not in avoided and self._refused(each) is None)
                others[variable] = next(usable, 0)
            seen.add(port)
        return others

    def _fault(self, variable: str, port: int, wanted: Mapping[str, int]) -> str | None:
        """Say why a port cannot be used; None when it can."""
        same = next(other for other, number in wanted.items() if number == port)
        if same != variable:
            return f"{same} and {variable} are both {port}: give each a port of its own"
        match self._refused(port):
            case errno.EADDRINUSE:
                return f"port {port} ({variable}) is in use: stop what listens there"
            case errno.EACCES:
                return (
                    f"port {port} ({variable}) needs root: "
                    f"run `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}` once"
                )
            case None:
                return None
            case number:
                return f"port {port} ({variable}) cannot be used: {errno.errorcode.get(number, number)}"
