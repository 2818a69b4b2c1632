"""The recorded run, replayed: nothing changes, and a bug in a function is seen and understood."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.servers.mongodb import Mongod
from proof.replay.kept import PAYMENTS, RESULTS, load_state
from shop.store.client import collection
from tests.operate.command import Orders, Run, hasty, write
from tests.support.functions import triggered
from tests.support.processes import shop_serve
from tests.support.sink import Sink

RECORDED = {"payments": PAYMENTS, "results": RESULTS}
CONSUMERS = {name: RECORDED[function.topic] for name, function in triggered("event").items()}


@pytest.fixture
def orders(shop: None, mongod: Mongod, tmp_path: Path) -> Orders:
    """Run `orders` against MongoDB alone, in the state that the recorded run left."""
    load_state(mongod.uri)
    return Orders({"MONGODB_URI": mongod.uri, "LOCAL_DIR": str(tmp_path)})


@asynccontextmanager
async def function(name: str, mongod: Mongod, **environment: str) -> AsyncIterator[str]:
    """Run a function whose events lead nowhere, and return its URL."""
    async with Sink() as sink, shop_serve(name, MONGODB_URI=mongod.uri, K_SINK=sink.url, **environment) as served:
        yield f"http://127.0.0.1:{served.port}"


async def replay(orders: Orders, file: Path, url: str, *options: object) -> Run:
    """Replay without Kafka, and without anything that resends."""
    return await orders("replay", file, "--to-url", url, "--wait", "0s", "--resend-paused", *options)


@pytest.mark.parametrize(("name", "file"), CONSUMERS.items())
async def test_the_recorded_run_changes_nothing(orders: Orders, mongod: Mongod, name: str, file: Path) -> None:
    """Twice, in any order, with drops and doubles: each document stays as it is, byte for byte."""
    async with function(name, mongod) as url:
        run = await replay(orders, file, url, "--twice", "--shuffle", "--seed", 1, "--expect-noop", "--all")
        assert run.code == 0, run.out
        assert "nothing changed" in run.out
        run = await replay(orders, file, url, "--drop", 0.3, "--duplicate", 0.3, "--shuffle", "--expect-noop", "--json")
        assert run.code == 0
        assert run.json["before"] == run.json["after"]
        assert run.json["rejected"] == run.json["applied"] == run.json["changed_documents"] == 0
        assert run.json["changed_nothing"] == run.json["deliveries"]


@pytest.mark.parametrize(
    ("bug", "name", "difference"),
    [
        ("paid_baskets is not looked at", "billing_handler", r"charged AGAIN for basket [0-9a-f]{24} attempt \d"),
        ("a decline is not final", "billing_handler", r"charged for what was DECLINED: basket [0-9a-f]{24} attempt 1"),
        ("settlement does not look at the attempt", "order_handler", r"ordered at attempt 2 became open at attempt 2"),
    ],
)
async def test_a_bug_is_a_difference_that_a_person_understands(
    orders: Orders, mongod: Mongod, bug: str, name: str, difference: str
) -> None:
    """Exit code 1, the document, what it amounts to, and each field before and after."""
    async with function(name, mongod, MUTANT=bug, FUNCTION_SOURCE="proof/replay/mutated.py") as url:
        run = await replay(orders, CONSUMERS[name], url, "--twice", "--shuffle", "--seed", 1, "--expect-noop")
    assert run.code == 1
    assert re.search(
        rf"(billing\.users Павел \d+|orders\.baskets [0-9a-f]{{24}} of Павел \d+): .*{difference}", run.out
    )
    assert re.search(r"\n  (balance: \d+ -> \d+|status: ordered -> open)\n", run.out)
    assert "nothing changed" not in run.out


async def test_what_is_replayed_for_the_first_time_is_applied(shop: None, mongod: Mongod, tmp_path: Path) -> None:
    """Notifications out of nothing: as many as there are decisions; --expect says so, in part or wrongly."""
    orders = Orders({"MONGODB_URI": mongod.uri, "LOCAL_DIR": str(tmp_path)})
    decisions = len({line.split('"id":"')[1].split('"')[0] for line in RESULTS.read_text().splitlines()})
    wanted = tmp_path / "want.yaml"
    async with function("notify_handler", mongod) as url:
        wanted.write_text("rejected: 0\nreasons: {}\n")
        run = await replay(orders, RESULTS, url, "--json", "--expect", wanted)
        assert run.code == 0
        assert run.json["applied"] + run.json["declined"] == decisions
        assert run.json["declined"] > 0
        wanted.write_text("applied: 1\nno_such: 2\n")
        run = await replay(orders, RESULTS, url, "--json", "--expect", wanted)
        assert run.code == 1
        assert "not as expected: applied is 0, not 1" in run.err
        assert "not as expected: no_such is not in the outcome" in run.err


async def test_an_edited_event_is_rejected_and_changes_nothing(orders: Orders, mongod: Mongod, tmp_path: Path) -> None:
    """Its answer is shown with the reason; and a replay of which nothing was accepted proves nothing."""
    edited = tmp_path / "edited.ndjson"
    first, second, *_ = PAYMENTS.read_text().splitlines()
    first = first.replace('"id":"', '"id":"x')
    async with function("billing_handler", mongod) as url:
        edited.write_text(f"{first}\n{second}\n")
        run = await replay(orders, edited, url, "--expect-noop", "--json")
        assert (run.code, run.json["rejected"], run.json["changed_nothing"]) == (0, 1, 1)
        assert any("it was edited" in reason for reason in run.json["reasons"])
        edited.write_text(first)
        run = await replay(orders, edited, url, "--expect-noop")
        assert run.code == 1
        assert "no delivery was accepted" in run.err


async def test_a_delivery_that_fails_proves_nothing(orders: Orders, mongod: Mongod, tmp_path: Path) -> None:
    """A sink that takes no event: each decision is retried, given up and counted; exit code 1."""
    orders = orders.opened(hasty)
    one = tmp_path / "one.ndjson"
    one.write_text(PAYMENTS.read_text().splitlines()[0])
    refusing = Sink(answers=[503] * 8)
    async with refusing, shop_serve("billing_handler", MONGODB_URI=mongod.uri, K_SINK=refusing.url) as served:
        run = await replay(orders, one, f"http://127.0.0.1:{served.port}", "--expect-noop", "--twice", "--json")
        assert (run.code, run.json["failed"], run.json["retried"]) == (1, 2, 2)
        assert "2 deliveries were never taken" in run.err
        run = await replay(orders, one, f"http://127.0.0.1:{served.port}", "--expect-noop", "--twice", "--json")
        assert (run.code, run.json["changed_nothing"]) == (0, 2)


async def test_a_basket_that_is_due_for_resend_is_left_out_and_said_to_be(orders: Orders, mongod: Mongod) -> None:
    """Resend may have claimed it; that is no change of the replay's."""
    due = {"$set": {"resend_at": datetime.now(UTC)}}
    ordered = await collection("orders", "baskets").update_many({"status": "ordered"}, due)
    bug = {"MUTANT": "settlement does not look at the attempt", "FUNCTION_SOURCE": "proof/replay/mutated.py"}
    async with function("order_handler", mongod, **bug) as url:
        run = await orders("replay", RESULTS, "--to-url", url, "--wait", "0s", "--expect-noop")
    assert run.code == 0
    assert f"{ordered.modified_count} baskets became due for resend meanwhile" in run.out
    assert ordered.modified_count > 0


async def test_the_same_seed_makes_the_same_deliveries(orders: Orders, tmp_path: Path) -> None:
    """A dry run says how many, and delivers nothing: nobody is there."""
    options = ("--drop", 0.5, "--duplicate", 0.5, "--to-url", "http://127.0.0.1:1", "--dry-run", "--json")
    runs = [(await orders("replay", PAYMENTS, "--seed", seed, *options)).json["deliveries"] for seed in (7, 7, 8)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


async def test_wrong_use_is_exit_code_2(orders: Orders, tmp_path: Path) -> None:
    """An expectation that is none, a consumer that is none, a function that is not there."""
    wanted = tmp_path / "want.yaml"
    write(wanted, [1])
    nobody = ["--to-url", "http://127.0.0.1:1"]
    for options, why in [
        (["--expect", wanted, *nobody], "must hold fields of the --json output"),
        (["--to", "get-user"], "use one of"),
        (nobody, "nobody answers"),
    ]:
        run = await orders("replay", PAYMENTS, "--wait", "0s", *options)
        assert run.code == 2
        assert why in run.err
