"""Run seeds on a real mongod, and shorten the history of one that fails."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pymongo import AsyncMongoClient

from local.ports import Ports
from local.servers.mongodb import Mongod
from proof.simulation.faults import Faults, Hit
from proof.simulation.invariants import check_bounded
from proof.simulation.observer import Anomaly, Databases
from proof.simulation.processes import Fleet, fleet, noted_log
from proof.simulation.world import World
from shop.process import process
from shop.process.settings import Settings
from shop.setup import setup
from shop.store.client import Document

_CLEAR_AFTER = 500
"""Runs, after which what they left is removed, so that the millionth run is as fast as the first."""

MOST_S = 100
"""For a run, in real seconds: a thousand times what it takes."""

_MOST_RERUNS = 200
"""Of a failing seed while its history is shortened: half a minute at most."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    anomaly: str | None
    history: list[str]
    hits: list[Hit]
    actions: int
    largest_batch: int
    """How many requests shared one command, at the most."""

    @property
    def promise(self) -> str | None:
        """The promise that was broken, without the details."""
        return None if self.anomaly is None else self.anomaly.partition(":")[0]


class Simulation:
    """Runs seeds, one after the other, against one mongod."""

    def __init__(self, processes: Fleet, databases: Databases) -> None:
        self._fleet = processes
        self._databases = databases
        self._runs = 0

    async def run(
        self,
        seed: int,
        switched_off: frozenset[int] = frozenset(),
        skipped: frozenset[int] = frozenset(),
        *,
        most_s: float = MOST_S,
    ) -> Outcome:
        """Run a seed, without the faults and actions of these numbers; end it when it takes longer than it may."""
        self._runs += 1
        if self._runs % _CLEAR_AFTER == 0:
            await self._databases.clear()
        faults = Faults(seed, switched_off)
        world = World(seed, f"seed-{seed}.{self._runs}", self._fleet, self._databases, faults, skipped)
        anomaly = None
        with noted_log():
            try:
                async with asyncio.timeout(most_s):
                    await world.run()
                    await world.check()
                if not faults.hits:
                    holdings = await self._databases.holdings(world.workload.users)
                    check_bounded(holdings, world.longest_array("billing_handler"), world.longest_array("deposit_cash"))
            except Anomaly as broken:
                anomaly = world.plain(str(broken))
            except TimeoutError:
                anomaly = world.plain(f"it hangs: {world.stands()}")
            finally:
                await world.stop()
        if anomaly or world.was_restored_apart:
            await self._databases.clear()  # a basket left ordered would be resent in the next run
        return Outcome(anomaly, world.history, faults.hits, world.workload.actions, world.largest_batch)

    async def shorten(self, seed: int) -> Outcome:
        """Find a run of a failing seed, with few faults and actions, that breaks the same promise."""
        best = await self.run(seed)
        if best.anomaly is None:
            return best
        switched_off, skipped, reruns = frozenset[int](), frozenset[int](), 0
        size = max(len(best.hits), best.actions)
        while size >= 1:
            faults = [hit.number for hit in best.hits]
            actions = [action for action in range(1, best.actions + 1) if action not in skipped]
            for start in range(0, max(len(faults), len(actions)), size):
                for without, skip in ((faults[start : start + size], []), ([], actions[start : start + size])):
                    reruns += 1
                    if reruns > _MOST_RERUNS:
                        return best
                    trial = switched_off.union(without), skipped.union(skip)
                    outcome = await self.run(seed, *trial)
                    if outcome.promise == best.promise:
                        best, (switched_off, skipped) = outcome, trial
            size //= 2
        return best

    async def story(self, seed: int, anomaly: str) -> str:
        """Return how a failing seed fails, shortened, and the command that runs it again."""
        outcome = await self.shorten(seed)
        if outcome.anomaly is None:
            return f"seed {seed}: {anomaly}\nrun again at once, it does not fail"
        return "\n".join([*outcome.history, "", f"seed {seed}: {outcome.anomaly}", f"again: make simulate SEED={seed}"])


_ROOM_FOR_EACH_CORE = 1024**3
"""In bytes: two mongods, which take up to 400 MiB each."""


def _in_memory() -> Path | None:
    """Return a folder that no disk has to follow, if this machine has one with room: nothing here outlives a run."""
    folder = Path("/dev/shm")  # noqa: S108
    wanted = _ROOM_FOR_EACH_CORE * (os.cpu_count() or 1)
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > wanted else None


@asynccontextmanager
async def simulation() -> AsyncIterator[Simulation]:
    """Start a mongod with empty databases, and the processes on it."""
    with TemporaryDirectory(prefix="simulation-", dir=_in_memory()) as folder:
        server = Mongod(Path(folder) / "data", Ports().free(), Path(folder) / "mongod.log", fail_points=True)
        await server.start()
        try:
            async with (
                AsyncMongoClient[Document](server.uri, appname="observer", tz_aware=True) as observer,
                fleet(server.uri) as processes,
            ):
                with process.running(process.Process(Settings(mongodb_uri=server.uri))):
                    await setup()
                yield Simulation(processes, Databases(observer))
        finally:
            await server.stop()
