"""Count the commands a piece of code sends to MongoDB: round trips, as the wire sees them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pymongo import AsyncMongoClient, monitoring

from shop.process import process
from shop.process.process import Process
from shop.store.client import open_client
from shop.store.readiness import Known, known


class Commands(monitoring.CommandListener):
    """The names of the commands sent, in order, without those of the connection itself."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sent: list[dict[str, object]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Remember one."""
        if event.command_name not in ("endSessions", "killCursors"):
            self.names.append(event.command_name)
            self.sent.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to do."""


@asynccontextmanager
async def counted(uri: str | None = None) -> AsyncIterator[Commands]:
    """Give this process a client that counts, for as long as the block runs."""
    commands = Commands()
    told = process.current().settings
    async with AsyncMongoClient(
        uri or told.mongodb_uri, event_listeners=[commands], tz_aware=True, appname="counted"
    ) as counting:
        await counting.admin.command("ping")
        commands.names.clear()
        commands.sent.clear()
        with process.running(Process(told, {open_client: counting, Known: known()})):
            yield commands
