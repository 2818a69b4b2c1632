"""The one-machine stack for tests: real mongod, real Kafka, real Envoy, on free ports and in their own folders.

Imported by a conftest, `stack` is one for the whole session (for each worker, with pytest-xdist); imported by a test
module, it is one for that module. A test that needs other settings makes its own:
`async with Stack(free(tmp_path), env_overrides=...)`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from local.settings import Settings
from local.stack import Stack
from tests.support.own_servers import given


def free(folder: Path) -> Settings:
    """Return settings that collide with no other stack."""
    return Settings(folder=folder, port=0, mongodb_port=0, kafka_port=0, sink_port=0)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Run the stack, as the manifests say, for the whole session; it takes 5 to 10 s to start.

    It uses the servers that a run was given.
    """
    settings = given().settings(free(tmp_path_factory.mktemp("stack")))
    async with Stack(settings, patches=[*given().patches()]) as running:
        yield running


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float = 30) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it does not in time.

    """
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s")
        await asyncio.sleep(0.02)
