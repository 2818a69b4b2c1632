"""One stack for all tests of faults, in which every event is delivered twice."""

from collections.abc import AsyncIterator

import pytest

from local.settings import Settings
from proof.faults.customers import Shop
from proof.faults.system import System, running


@pytest.fixture(scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Run the whole system; tests keep apart by their users."""
    folder = tmp_path_factory.mktemp("faults")
    settings = Settings(folder=folder, port=0, mongodb_port=0, kafka_port=0, sink_port=0)
    async with running(settings) as system:
        yield system


@pytest.fixture
def shop(system: System) -> Shop:
    """Call the shop as a customer."""
    return system.shop
