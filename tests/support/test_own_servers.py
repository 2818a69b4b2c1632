"""A run on servers of one's own has names of its own, and refuses what a shop is in use on."""

import subprocess
import sys
from pathlib import Path

import pymongo
import pytest

from local import manifests
from local.ports import free_port
from local.servers.mongodb import Mongod
from local.settings import Settings
from shop.state import SERVICES
from tests.support.own_servers import KAFKA, MONGODB, OwnServers

ROOT = Path(__file__).parents[2]


def test_nothing_is_named_otherwise_without_them() -> None:
    """A run that was given nothing is as ever."""
    none = OwnServers.of({})
    assert not none
    assert none.names == {service: service for service in SERVICES}
    assert (none.databases, [*none.patches()]) == ({}, [])
    assert none.settings(Settings()) == Settings()


def test_every_topic_group_and_database_has_a_name_of_the_run() -> None:
    """Of each worker: nothing of the shop's own names is left in what the stack is told."""
    own = OwnServers.of({MONGODB: "mongodb://h/", KAFKA: "h:1", "OWN_SERVERS_RUN": "ab"}, "gw1")
    assert set(own.names.values()) == {f"tests-abgw1-{service}" for service in SERVICES}
    assert set(own.settings(Settings()).databases) == {f"{service.upper()}_DATABASE" for service in SERVICES}
    told = manifests.read(Settings.manifests, [*own.patches()])
    names = [
        *(sink.topic for sink in told.sinks),
        *(topic.name for topic in told.topics),
        *(topic for source in told.sources for topic in source.topics),
        *(source.consumer_group for source in told.sources),
    ]
    assert len(names) > 9
    assert [name for name in names if not name.startswith("tests-abgw1-")] == []


def run(uri: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one cheap test there."""
    test = "tests/functions/test_get_user.py"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={MONGODB: uri, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.ci
def test_a_mongodb_in_use_is_refused_unless_told_and_is_left_as_it_was(mongod: Mongod) -> None:
    """What the run made is gone, what was there is there."""
    with pymongo.MongoClient[dict[str, object]](mongod.uri) as client:
        client["billing"]["users"].insert_one({"_id": "a shop is here"})
        try:
            refused = run(mongod.uri)
            assert refused.returncode == 2
            assert "a shop is in use there: it has billing" in refused.stdout + refused.stderr
            done = run(mongod.uri, OWN_SERVERS_IN_USE="1")
            assert done.returncode == 0, done.stdout
            assert "on MongoDB " in done.stdout
            assert client["billing"]["users"].find_one({"_id": "a shop is here"}) is not None
            assert [name for name in client.list_database_names() if name.startswith("tests-")] == []
        finally:
            client["billing"]["users"].delete_one({"_id": "a shop is here"})


@pytest.mark.parametrize(
    "uri", ["mongodb://127.0.0.1:{}/?serverSelectionTimeoutMS=200", pytest.param("no uri", marks=pytest.mark.long)]
)
def test_a_mongodb_that_does_not_answer_is_named_before_any_test(uri: str) -> None:
    """With what the driver says."""
    done = run(uri.format(free_port()))
    assert done.returncode == 2
    assert "The tests do not run there" in done.stdout + done.stderr
