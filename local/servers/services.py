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
    return Server(command, log_file, ready=lambda: answers(port, service.ready_path), environment=environment)


def environment(service: Service, port: int, mongodb_uri: str) -> dict[str, str]:
    """Return what the container of the Service's first revision sees; each Secret holds the one `mongodb_uri`."""
    return {
        **base_environment(),
        "HOST": "127.0.0.1",  # a container listens everywhere; a laptop should not
        "PORT": str(port),
        "K_SERVICE": service.name,
        "K_CONFIGURATION": service.name,
        "K_REVISION": f"{service.name}-00001",
        **{name: value if isinstance(value, str) else mongodb_uri for name, value in service.env.items()},
    }


def bound_environment(k_sink: str) -> dict[str, str]:
    """Return what a SinkBinding without overrides adds."""
    return {"K_SINK": k_sink, "K_CE_OVERRIDES": ""}


def base_environment() -> dict[str, str]:
    """Return what any process needs of this machine; the rest of our own environment is hidden from functions."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
