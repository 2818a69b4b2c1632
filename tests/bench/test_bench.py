"""`make bench` tells figures only of what it has audited, and says what a figure is worth."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import cpu, soak
from bench.customers import AuditError, Customer
from bench.figures import Spread, Target, percentile, ratios
from bench.rounds import Plan
from bench.soak import Look, growth
from local.settings import ROOT


def look(orders: int, *, p50_ms: float = 10, memory_mb: float = 50, descriptors: int = 20) -> Look:
    """Return what a system looks like after so many orders."""
    return Look(orders, 100, p50_ms, 20, {"billing-handler": memory_mb}, {"billing-handler": descriptors})


class Shop:
    """Answers a customer as a shop would that has these notifications and this balance."""

    def __init__(self, balance: int, notified: list[tuple[str, int]]) -> None:
        self.balance, self.notified = balance, notified

    async def call(self, _: str, path: str, __: object = None, **___: object) -> "Shop":
        """Remember what was asked for."""
        self.path = path
        return self

    def json(self) -> dict[str, object]:
        """Return the answer."""
        notifications = [{"basket": basket, "sum": sum_, "outcome": "paid"} for basket, sum_ in self.notified]
        return {"balance": self.balance, "notifications": notifications, "next": None}


def customer(balance: int, *notified: tuple[str, int]) -> Customer:
    """Return one whose baskets a and b cost 1 and 2."""
    return Customer("Pavel", Shop(balance, list(notified)), 0, {"a": 1, "b": 2})  # type: ignore[arg-type]


async def test_a_basket_that_was_charged_or_notified_twice_is_found() -> None:
    """Or not at all: then the figures are of a system that does something else."""
    right = 10**12 - 3
    assert await customer(right, ("a", 1), ("b", 2)).audit() == 2
    for wrong in (
        customer(right - 1, ("a", 1), ("b", 2)),
        customer(right, ("a", 1), ("b", 2), ("b", 2)),
        customer(right, ("a", 1), ("c", 2)),
    ):
        with pytest.raises(AuditError):
            await wrong.audit()


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        *((bench.options, each) for each in ("--parts=z", "--parts=", "--minutes=0", "--minutes=inf", "--rounds=x")),
        *((soak.options, each) for each in ("--orders=-1", "--orders=many")),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_status_2(
    options: Callable[[Sequence[str]], object], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started, and what to give is said."""
    with pytest.raises(SystemExit) as ended:
        options([wrong])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith(f"argument {wrong.partition('=')[0]}: ")


def test_a_ratio_is_taken_round_by_round() -> None:
    """What disturbs one round disturbs both sides of it; a round that only one side has played does not count."""
    assert ratios([10, 1], [5, 0.5, 7]) == Spread(2, 2, 2)
    assert ratios([30, 10, 20], [10, 10, 10]) == Spread(2, 1, 3)
    assert percentile([3, 1, 2], 0.99) == 3


@pytest.mark.parametrize(
    ("median", "more_is_better", "verdict"),
    [
        (2.2, True, "aim"),
        (1.5, True, "floor"),
        (1.4, True, "**missed**"),
        (1.4, False, "aim"),
        (2.3, False, "**missed**"),
    ],
)
def test_a_figure_is_held_to_its_floor_and_its_aim(median: float, more_is_better: bool, verdict: str) -> None:
    """More is better for a rate, less for a cost."""
    floor, aim = (1.5, 2.2) if more_is_better else (2.2, 1.5)
    assert Target("figure", floor, aim, Spread(median, 0, 9), more_is_better).verdict == verdict


def test_rounds_end_with_their_time() -> None:
    """Half an hour for all is what was promised; one round is always played."""
    said: list[str] = []
    assert list(Plan(0.001, 3, said.append).play("a", 0)) == [1]
    assert said == ["a: its time is over after 1 of 3 rounds"]
    assert list(Plan(30, 3, said.append).play("a", 1)) == [1, 2, 3]


def test_processes_are_told_by_their_names() -> None:
    """A report that says java says nothing."""
    assert cpu.name_of(["/usr/lib/java", "-cp", "x", "kafka.Kafka"]) == "kafka"
    assert cpu.name_of(["/x/.venv/bin/python", "-m", "local.stand_ins.kafka_source", "f.json"]) == "kafka-source"
    assert cpu.name_of(["/x/mongod", "--dbpath", "y"]) == "mongod"
    assert os.getpid() in [process.pid for process in cpu.descendants(os.getpid())]


@pytest.mark.parametrize(
    ("late", "said"),
    [
        ({}, []),
        ({"memory_mb": 56}, ["billing-handler has grown from 50.0 to 56.0 MB"]),
        ({"descriptors": 26}, ["billing-handler has gone from 20 to 26 descriptors"]),
        ({"p50_ms": 13}, ["the median latency has grown from 10 to 13 ms"]),
    ],
)
def test_a_soak_says_what_has_grown(late: dict[str, float], said: list[str]) -> None:
    """Between the second quarter and the last one."""
    looks = [look(orders) for orders in range(10, 80, 10)] + [look(orders, **late) for orders in (80, 90, 100)]  # type: ignore[arg-type]
    assert growth(looks) == said


@pytest.mark.timeout(240)
def test_duplicates_are_measured_and_reported(tmp_path: Path) -> None:
    """The shortest part, on a real MongoDB; what it says of time means nothing here."""
    report = tmp_path / "report.md"
    command = [
        sys.executable,
        "-m",
        "bench",
        "--parts",
        "f",
        "--minutes",
        "1",
        "--rounds",
        "1",
        "--report",
        str(report),
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert "f: round 1: " in ended.stdout
    assert "| f. oplog bytes of a duplicate over a first delivery | 0.00x | 0.00x | 0.00x | aim |" in report.read_text()
