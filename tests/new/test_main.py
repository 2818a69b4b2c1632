"""`make new` makes functions that run, deployed and tested, and that every list knows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from new.__main__ import Refused, new

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".stack", ".*_cache", "__pycache__")

INSTALLED = [flag for file in ("placed", ".venv/made", ".venv/dev.done", ".venv/bin/orders") for flag in ("-o", file)]
"""Has make leave the environment as it is: the copy uses ours."""

LISTS = """
import json
from local.manifests import read
from local.settings import Settings
from operate.places import CONSUMERS
from proof.faults import injections, system
from proof.simulation import processes
from shop.setup import restoring
from tests.support import openapi
from tests.support.functions import FUNCTIONS, consumers

manifests = read(Settings().manifests)
print(json.dumps({
    "functions": list(FUNCTIONS),
    "services": [service.name for service in manifests.services],
    "routes": {route.service.name: route.path for route in manifests.routes},
    "sources": {source.name: list(source.topics) for source in manifests.sources},
    "killed": injections.FUNCTIONS,
    "rewound": system.CONSUMERS,
    "fleet": list(processes.FUNCTIONS),
    "delivered": consumers("shop.events.v1.PaymentDecided"),
    "command": {name: consumer.topic for name, consumer in CONSUMERS.items()},
    "connections": restoring.FUNCTIONS,
    "documented": [operation["operationId"] for _, _, operation in openapi.operations()],
}))
"""

OWN = ("tests/functions/test_refund_order.py", "tests/functions/test_count_sales.py")
"""Tests of the functions made."""

OF_ALL = (
    *("tests/knative", "tests/docs/test_readme.py", "tests/functions/test_http_contract.py"),
    *("tests/functions/test_every_function.py", "tests/functions/test_epochs.py"),
    "tests/shop/store/test_before_setup.py",
)
"""Tests that go through all functions."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with two functions more: one that answers, and one that takes events."""
    root = tmp_path_factory.mktemp("new") / "orders"
    shutil.copytree(ROOT, root, ignore=LEFT_OUT)
    run(root, "git", "init", "-q")  # some tests go through the files that git knows
    run(root, "git", "add", ".")
    (root / ".venv").symlink_to(Path(sys.prefix))
    for options in (["NAME=refund_order"], ["NAME=count_sales", "TOPIC=results"]):
        run(root, "make", *INSTALLED, "new", *options)
    return root


def run(root: Path, *command: str) -> str:
    """Run a command in the copy, and return what it printed; it must succeed."""
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_list_knows_a_new_function(checkout: Path) -> None:
    """Kill list, fleet, manifests, openapi and the command: none of them is written by hand."""
    lists = json.loads(run(checkout, sys.executable, "-c", LISTS))
    for of_all in ("functions", "fleet", "connections"):
        assert {"refund_order", "count_sales"} <= set(lists[of_all]), of_all
    for of_all in ("services", "killed"):
        assert {"refund-order", "count-sales"} <= set(lists[of_all]), of_all
    assert lists["routes"]["refund-order"] == "/RefundOrder"
    assert "refund_order" in lists["documented"]
    assert lists["sources"]["count-sales"] == ["results"]
    assert lists["command"]["count-sales"] == "results"
    assert "count-sales" in lists["rewound"]
    assert "count_sales" in lists["delivered"]


def test_what_is_made_passes_its_own_test(checkout: Path) -> None:
    """Nothing has to be mended before somebody writes the first line."""
    run(checkout, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *OWN)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_is_made_passes_the_tests_of_all_functions(checkout: Path) -> None:
    """It is healthy, refuses what all refuse, and stands in the manifests, the README and the contract."""
    run(checkout, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *OF_ALL)


def test_what_is_made_is_formatted(checkout: Path) -> None:
    """As `make check` wants it."""
    run(checkout, ".venv/bin/ruff", "check", "-q", ".")
    run(checkout, ".venv/bin/ruff", "format", "--check", "-q", ".")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_is_made_is_typed(checkout: Path) -> None:
    """The whole project is read for it, which takes a minute."""
    run(checkout, ".venv/bin/mypy", "functions/refund_order/main.py", "functions/count_sales/main.py")


@pytest.mark.timeout(600)
def test_the_simulation_runs_it(checkout: Path) -> None:
    """What takes events is brought them, in any order and often, and no promise is broken."""
    run(checkout, sys.executable, "-m", "proof.simulation", "--seeds", "2")


@pytest.mark.parametrize(
    ("name", "topic", "why"),
    [
        ("refund", None, "a verb and a noun"),
        ("refundOrder", None, "a verb and a noun"),
        ("../order", None, "a verb and a noun"),
        ("create_order", None, "is there already"),
        ("count_sales", "result", "there are payments, results"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(name: str, topic: str | None, why: str) -> None:
    """The message says what would do."""
    with pytest.raises(Refused, match=why):
        new(ROOT, name, topic=topic)
