"""Ports to listen on: the ones asked for, or free ones."""

import errno
import socket

from local.child import free_port
from local.settings import SettingsError


class Ports:
    """Hands out ports of 127.0.0.1, each once."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def free(self) -> int:
        """Return a port that nobody listens on."""
        for _ in range(100):
            port = free_port()
            if port not in self._taken:
                self._taken.add(port)
                return port
        raise OSError("no free port that is not taken by another part of the stack")

    def again(self, port: int | None) -> int:
        """Return this port, which a former run had, if it can be had again; else, or for None, a free one."""
        if port is None or port in self._taken:
            return self.free()
        try:
            return self.claim("", port)
        except (SettingsError, OSError):
            return self.free()

    def claim(self, variable: str, port: int) -> int:
        """Return this port, or a free one for 0.

        Raises:
            SettingsError: it cannot be used; the message names the environment variable, and what to do.

        """
        if port == 0:
            return self.free()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections just closed do not count
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise SettingsError(
                        f"port {port} is in use: stop what listens there, or choose another port: "
                        f"{variable}={port + 1} make run"
                    ) from None
                if error.errno == errno.EACCES:
                    raise SettingsError(
                        f"port {port} needs root: run `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}` once, "
                        f"or choose a port from 1024: {variable}=8080 make run"
                    ) from None
                raise
        self._taken.add(port)
        return port
