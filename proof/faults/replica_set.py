"""A replica set of three real mongods: primaries that step down, freeze and come back; replication that stalls."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from local.ports import Ports
from local.servers.mongodb import REPLICA_SET, binary
from local.servers.parts import Server, signalled
from local.servers.probe import answers
from proof.faults.waiting import eventually

T = TypeVar("T")
Document = dict[str, Any]

_ELECTION_TIMEOUT_MS = 2_000  # 10 s by default; a test has less patience than a cluster


class Member(Server):
    """One mongod of the set, started and stopped by hand."""

    def __init__(self, folder: Path, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        folder.mkdir(parents=True)
        command: list[str | Path] = [
            *(binary(), "--dbpath", folder, "--replSet", REPLICA_SET),
            *("--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "enableTestCommands=1"),  # for the fail point
        ]
        super().__init__(command, folder.with_suffix(".log"), ready=lambda: answers(port))

    async def ask(self, question: Callable[[MongoClient[Document]], T]) -> T:
        """Talk to this member alone, whatever it is in the set; writes need no majority."""
        return await asyncio.to_thread(self._ask, question)

    def _ask(self, question: Callable[[MongoClient[Document]], T]) -> T:
        with MongoClient[Document](
            f"mongodb://{self.address}",
            directConnection=True,
            w=1,
            serverSelectionTimeoutMS=2_000,
            socketTimeoutMS=5_000,
        ) as client:
            return question(client)

    async def command(self, name: str, value: object = 1, **arguments: object) -> Document:
        """Run an admin command on this member."""
        return await self.ask(lambda client: client.admin.command({name: value, **arguments}))

    async def is_primary(self) -> bool:
        """Whether it takes itself for the primary, and answers."""
        try:
            return bool((await self.command("hello"))["isWritablePrimary"])
        except PyMongoError:
            return False

    async def is_secondary(self) -> bool:
        """Whether it follows a primary, with its rollback, if there was one, behind it."""
        try:
            return bool((await self.command("hello"))["secondary"])
        except PyMongoError:
            return False

    async def stall(self, *, stalled: bool) -> None:
        """Stop fetching what the primary writes, or go on."""
        await self.command("configureFailPoint", "stopReplProducer", mode="alwaysOn" if stalled else "off")

    async def restart(self, number: signal.Signals) -> None:
        """End the process with a signal, and start it again."""
        assert self.process is not None
        await signalled(self.process, number)
        await self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the process (SIGSTOP) for the block."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


class ReplicaSet:
    """Three members, of which the majority is two."""

    def __init__(self, folder: Path) -> None:
        ports = Ports()
        self.members = [Member(folder / f"member-{number}", ports.free()) for number in range(3)]
        self.uri = f"mongodb://{','.join(member.address for member in self.members)}/?replicaSet={REPLICA_SET}"

    async def __aenter__(self) -> Self:
        """Start the members, and wait for their first primary."""
        try:
            await asyncio.gather(*(member.start() for member in self.members))
            config = {
                "_id": REPLICA_SET,
                "members": [{"_id": number, "host": member.address} for number, member in enumerate(self.members)],
                "settings": {"electionTimeoutMillis": _ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": 500},
            }
            await self.members[0].command("replSetInitiate", config)
            await self.primary()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the members."""
        await self._stop()

    async def _stop(self) -> None:
        """Kill them: a primary that is asked to stop waits 15 s for its clients to leave, and nothing here is kept."""
        running = [member.process for member in self.members if member.process is not None]
        await asyncio.gather(*(signalled(process, signal.SIGKILL) for process in running))

    async def primary(self, *, other_than: Member | None = None) -> Member:
        """Wait until there is a primary (another one than a former one), and return it."""

        async def found() -> Member | None:
            for member in self.members:
                if member is not other_than and await member.is_primary():
                    return member
            return None

        primary = await eventually(found)
        assert primary is not None
        return primary

    async def step_down(self) -> None:
        """Have the primary step down, and wait for the next one."""
        primary = await self.primary()
        # It closes its connections; or refuses, as no secondary is near enough, and this fault has missed.
        with contextlib.suppress(AutoReconnect, OperationFailure):
            await primary.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)
        await self.primary()

    async def replace_frozen_primary(self) -> None:
        """Freeze the primary until another one is elected, then let it go on, and find out."""
        primary = await self.primary()
        with primary.frozen():
            await self.primary(other_than=primary)
        await eventually(primary.is_secondary)

    @asynccontextmanager
    async def stalled(self) -> AsyncIterator[Member]:
        """Stop replication for the block: the primary takes writes, and no majority ever has them. Give the primary."""
        primary = await self.primary()
        followers = [member for member in self.members if member is not primary]
        await asyncio.gather(*(member.stall(stalled=True) for member in followers))
        try:
            yield primary
        finally:
            await asyncio.gather(*(member.stall(stalled=False) for member in followers))
