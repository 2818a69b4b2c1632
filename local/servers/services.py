"""Functions as processes: one for each Service, with the environment that Knative gives its container, and no more."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from local.manifests import Service
from local.servers.parts import Server
from local.servers.probe import answers


def server(service: Service, port: int, environment: Mapping[str, str], log_file: Path) -> Server:
    """Return the process of one function, ready when its readiness probe is.

    It goes by FUNCTION_TARGET; the name at the end of the command is for people, who see in `ps` which function it is.
    """
    command = [sys.executable, "-m", "shop.serve", service.name]
    return Server(command, log_file, lambda: answers(port, service.ready_path), {**base_environment(), **environment})


def base_environment() -> dict[str, str]:
    """Return what any process needs of this machine; the rest of our own environment is hidden from functions."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
