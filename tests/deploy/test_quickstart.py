"""A MongoDB of one node becomes the replica set that its URI names: that of quickstart, by its own command line."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from local.ports import Ports
from local.servers.mongodb import binary
from local.servers.parts import Server
from local.servers.probe import answers
from shop.doctor.reading import Document
from tests.support.kustomize import overlay
from tests.support.manifests import KNATIVE, ROOT

AWAY = "mongodb://127.0.0.1:9/?replicaSet=shop&serverSelectionTimeoutMS=200"


def container(kind: str, name: str) -> dict[str, Any]:
    """Return the one container of an object of quickstart."""

    def is_it(document: Document) -> bool:
        return (document.kind, document.name) == (kind, name)

    (found,) = filter(is_it, overlay(KNATIVE / "overlays" / "quickstart"))
    (only,) = found.spec["template"]["spec"]["containers"]
    return dict(only)


def words(uri: str) -> list[str]:
    """Return how the Job of quickstart runs setup."""
    job = container("Job", "setup")
    assert job["command"][0] == "python3"
    return [sys.executable, *job["command"][1:], *job["args"]]


def run(uri: str) -> subprocess.CompletedProcess[str]:
    """Run the Job of quickstart to its end."""
    told = {"PATH": os.environ["PATH"], "MONGODB_URI": uri}
    return subprocess.run(words(uri), cwd=ROOT, env=told, capture_output=True, text=True, timeout=120, check=False)


@asynccontextmanager
async def mongod(folder: Path, port: int) -> AsyncIterator[Server]:
    """Run the mongod of quickstart, on loopback alone and with its data in a folder: nobody has initiated it."""
    command = [str(word) for word in container("StatefulSet", "mongodb")["command"]]
    assert command[0] == "mongod"
    command = [word for word in command if word != "--bind_ip_all"]
    command[command.index("--dbpath") + 1] = str(folder)
    own = [*command[1:], "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"]
    server = Server([binary(), *own], folder / "mongod.log", ready=lambda: answers(port))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def test_setup_waits_for_mongodb_and_makes_it_a_replica_set(tmp_path: Path) -> None:
    """Both are started at the same moment; another run finds what is there."""
    port = Ports().free()
    uri = f"mongodb://127.0.0.1:{port}/?replicaSet=shop"
    first = asyncio.create_task(asyncio.to_thread(run, uri))
    await asyncio.sleep(1)
    async with mongod(tmp_path, port):
        for done in (await first, await asyncio.to_thread(run, uri)):
            assert (done.returncode, done.stderr) == (0, "")
            assert "orders.baskets is set up" in done.stdout
        with MongoClient[Any](uri) as client:
            (member,) = client.admin.command("replSetGetConfig")["config"]["members"]
        assert member["host"] == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (AWAY, "MongoDB did not do it: 127.0.0.1:9"),
        (AWAY.replace(":9/", ":9,127.0.0.1:10/"), "are more nodes than one: initiate them with rs.initiate, by hand"),
        (AWAY.replace("replicaSet=shop&", ""), "does not say what the replica set is called"),
    ],
)
def test_what_cannot_be_one_is_said(uri: str, says: str) -> None:
    """Nobody is asked when the URI cannot be right."""
    done = run(uri)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
