"""The command `python -m shop.setup`: what it takes, says, and answers to the shell."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bson import Int64, ObjectId

from shop.state import SERVICES
from shop.store import readiness
from shop.store.client import collection

ROOT = Path(__file__).parents[3]

AWAY = "mongodb://127.0.0.1:9/?directConnection=true&serverSelectionTimeoutMS=200"


def run(*arguments: str, uri: str = AWAY, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "shop.setup", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "MONGODB_URI": uri, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def basket(status: str, attempt: int) -> dict[str, Any]:
    return {"_id": ObjectId(), "user": "Pavel", "number": Int64(1), "status": status, "attempt": Int64(attempt)}


@pytest.mark.usefixtures("empty")
def test_it_says_what_is_set_up(empty_mongod: Any) -> None:
    """One line for each collection, the second time too."""
    for _ in range(2):
        done = run(uri=empty_mongod.uri)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            *("orders.baskets is set up", "billing.users is set up", "billing.paid_baskets is set up"),
            *("billing.deposits is set up", "notify.notifications is set up"),
            *("orders.meta is set up", "billing.meta is set up", "notify.meta is set up"),
            "orders.actions is set up",
        ]


def test_help_has_every_verb_and_setting() -> None:
    """And says when to run it."""
    done = run("--help")
    assert done.returncode == 0
    for what in ("--restored", "--mend", "--shard", "MONGODB_URI", "BILLING_MONGODB_URI", "before the first function"):
        assert what in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("oders",), "there is no service oders; name some of orders, billing, notify, or none for all"),
        (("--restored", "orders"), "--restored is for all three databases; name no service"),
        (("--restored", "--mend"), "not allowed with"),
        (("--restore",), "unrecognized arguments: --restore"),
    ],
)
def test_wrong_arguments_are_exit_code_2_and_nothing_is_done(arguments: tuple[str, ...], says: str) -> None:
    """Said before MongoDB is asked for anything; no option is guessed from its beginning."""
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_setting_that_cannot_be_right_is_named() -> None:
    """Before anything is done, and without the password that it may hold."""
    done = run(BILLING_MONGODB_URI="mongodb://h:abc", ORDERS_DATABASE="a b")
    assert done.returncode == 1
    assert "BILLING_MONGODB_URI is not a MongoDB connection string" in done.stderr
    assert "ORDERS_DATABASE must be a database name" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", [(), ("--restored",), ("--mend",), ("--shard",)])
def test_without_mongodb_it_is_exit_code_1_and_no_trace(verb: tuple[str, ...]) -> None:
    """The address is named, and with a restore that nothing was changed."""
    done = run(*verb)
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert ("nothing was changed" in done.stderr) is (verb == ("--restored",))


@pytest.mark.usefixtures("empty")
async def test_duplicates_are_exit_code_1_and_mended_on_demand(empty_mongod: Any) -> None:
    """First the advice, then what it does; what has to stay is named again."""
    baskets = collection("orders", "baskets")
    await baskets.insert_many([basket("open", 0), basket("open", 0)])
    done = run(uri=empty_mongod.uri)
    assert done.returncode == 1
    assert "user Pavel, number 1" in done.stderr
    assert "python -m shop.setup --mend orders" in done.stderr
    done = run("--mend", "orders", uri=empty_mongod.uri)
    assert (done.returncode, done.stderr) == (0, "")
    assert "orders.baskets: removed" in done.stdout
    assert await readiness.problem("orders", 5) is None
    await baskets.drop_index("user_number")
    await baskets.delete_many({})
    await baskets.insert_many([basket("paid", 1), basket("ordered", 1)])
    done = run("--mend", uri=empty_mongod.uri)
    assert done.returncode == 1
    assert "Somebody has to decide about these:\norders.baskets: user Pavel, number 1" in done.stderr


@pytest.mark.usefixtures("empty")
async def test_restored_sets_up_and_begins_an_epoch(empty_mongod: Any) -> None:
    """In one run: what was restored may be of before an index."""
    done = run("--restored", uri=empty_mongod.uri)
    assert (done.returncode, done.stderr) == (0, "")
    assert "begins, restored at" in done.stdout
    for service in SERVICES:
        assert (await readiness.ready(service)).number > 0


@pytest.mark.usefixtures("empty")
def test_shard_on_a_replica_set_sets_up_and_says_what_is_missing(empty_mongod: Any) -> None:
    """Nothing is half done: the collections are there, unsharded."""
    done = run("--shard", uri=empty_mongod.uri)
    assert done.returncode == 1
    assert "connect to a mongos" in done.stderr
