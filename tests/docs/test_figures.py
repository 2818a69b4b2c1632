"""Figures in documents and comments are those of the source: each is read off it here, wherever it is written.

What was measured once (rates, durations of a run) is not looked at.
"""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from functions.resend_orders.main import DEADLINE_S as TICK_S
from proof.mutants.mutants import MUTANTS as SMALL_MUTANTS
from proof.simulation.faults import Fault
from proof.simulation.mutants import MUTANTS
from shop import orders, serve
from shop.edge import handling
from shop.emission import sink
from shop.store.client import DEADLINE_S
from tests.support.functions import folders
from tests.support.manifests import delivery, documents, waits_s
from wire.delivery import duration_s

ROOT = Path(__file__).parents[2]
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_WORDS |= {"eleven": 11, "twelve": 12, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60}


def number(text: str) -> float:
    """Return the number that digits or a word say."""
    return float(_WORDS[text.lower()]) if text.lower() in _WORDS else float(text.replace(",", ""))


def texts() -> dict[str, str]:
    """Return every document and source file that says figures, its lines joined, comment signs left out."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in tracked.split("\0") if re.search(r"\.(md|py|yaml|proto)$", name)]
    return {
        name: re.sub(r"\s*\n[ \t]*(?:#[ \t]*)?", " ", (ROOT / name).read_text(encoding="utf-8"))
        for name in names
        if not name.startswith(("requirements/", "tests/", "proof/", "shop/schema/")) and (ROOT / name).exists()
    }


TEXTS = texts()


@dataclass(frozen=True)
class Figure:
    """What is written, with a group for each number, and what the numbers are."""

    written: str
    are: Callable[[], tuple[float, ...]]


def _days(name: str) -> float:
    (topic,) = (document for document in documents("KafkaTopic") if document.name == name)
    return float(topic.spec["config"]["retention.ms"]) / 86_400_000


def _timeout_s() -> float:
    (timeout_s,) = {document.spec["template"]["spec"]["timeoutSeconds"] for document in documents("Service")}
    return float(timeout_s)


def _delivery_timeout_s() -> float:
    (timeout_s,) = {duration_s(document.spec["delivery"]["timeout"]) for document in documents("KafkaSource")}
    return timeout_s


def _retries(source: str) -> float:
    return float(delivery(source).retry)


def _minutes(source: str) -> float:
    return sum(waits_s(source)) // 60


N = r"\b([\w,.]*\w)"
COUNTS = [
    Figure(rf"made of {N} small Python functions", lambda: (len(folders()),)),
    Figure(rf"{N} known bugs into the code", lambda: (len(MUTANTS),)),
    Figure(rf"of the real code with {N} mutants", lambda: (len(MUTANTS),)),
    Figure(rf"more than {N} small mutants", lambda: (len(SMALL_MUTANTS) // 50 * 50,)),
    Figure(rf"faults of {N} kinds", lambda: (len(Fault),)),
]
RETRIES = [
    Figure(
        rf"{N} times within {N} s to billing_handler and order_handler",
        lambda: (_retries("billing-handler"), sum(waits_s("billing-handler"))),
    ),
    Figure(
        rf"{N} times within {N} s to billing_handler and order_handler",
        lambda: (_retries("order-handler"), sum(waits_s("order-handler"))),
    ),
    Figure(
        rf"{N} times within {N} minutes to notify_handler",
        lambda: (_retries("notify-handler"), _minutes("notify-handler")),
    ),
    Figure(rf"notify_handler could not take for {N} minutes", lambda: (_minutes("notify-handler"),)),
    Figure(
        rf"{N} \+ {N} \+ {N} \+ {N} \+ {N} s: {N} s of waiting",
        lambda: (*waits_s("billing-handler"), sum(waits_s("billing-handler"))),
    ),
    Figure(
        rf"{N} \+ {N} \+ {N} \+ \.\.\. \+ {N} s: {N} minutes of waiting .{{0,250}}? within {N} s\. Nothing re-emits",
        lambda: (
            *waits_s("notify-handler")[:3],
            waits_s("notify-handler")[-1],
            _minutes("notify-handler"),
            waits_s("notify-handler")[-1],
        ),
    ),
    Figure(rf"the retry, after {N} s: it reads", lambda: (waits_s("billing-handler")[0],)),
]
RETENTIONS = [
    Figure(r"retention\.ms: 604800000 # (\d+) days", lambda: (_days("payments"),)),
    Figure(r"retention\.ms: 604800000 # (\d+) days", lambda: (_days("results"),)),
    Figure(r"retention\.ms: 2592000000 # (\d+) days", lambda: (_days("dead-letters"),)),
]
TIMEOUTS = [
    Figure(
        rf"Time-outs nest: K_SINK {N} s, MongoDB {N} s, function {N} s \(resend-orders {N} s\), "
        rf"Service {N} s, delivery {N} s",
        lambda: (
            *(sink.TIMEOUT_S, DEADLINE_S, handling.DEADLINE_S, TICK_S),
            *(_timeout_s(), _delivery_timeout_s()),
        ),
    ),
    Figure(
        rf"MongoDB's {N} s and the sink's {N} s inside it\. With the body's it is inside Serving's {N} s",
        lambda: (DEADLINE_S, sink.TIMEOUT_S, _timeout_s()),
    ),
    Figure(
        rf"inside the function's {N} s, which is inside Serving's {N} s",
        lambda: (handling.DEADLINE_S, _timeout_s()),
    ),
    Figure(rf"a function's keep-alive of {N} s", lambda: (serve.KEEP_ALIVE_S,)),
    Figure(rf"for at most {N} s \(shop\.serve\)", lambda: (serve.DRAIN_S,)),
    Figure(rf"200 after {N} s", lambda: (sink.TIMEOUT_S,)),
    Figure(rf"POST /Order may take {N} s", lambda: (sink.TIMEOUT_S,)),
    Figure(rf"503 with `Retry-After` within {N} s on every route", lambda: (DEADLINE_S,)),
    Figure(rf"503 after {N} s \| a repeat once a majority", lambda: (DEADLINE_S,)),
]
RESENDS = [
    Figure(rf"has been `ordered` for {N} s", lambda: (orders.RESEND_AFTER_MS / 1000,)),
    Figure(rf"else resend after {N} s", lambda: (orders.RESEND_AFTER_MS / 1000,)),
    Figure(rf"once the claim is over: {N} s at least, an hour at most", lambda: (orders.RESEND_AFTER_MS / 1000,)),
    Figure(rf"before the first resend, {N} s after the order", lambda: (orders.RESEND_AFTER_MS / 1000,)),
]


def is_the_sources(figure: Figure) -> None:
    """See that it is written somewhere, and right wherever it is written."""
    found = [(name, match) for name, text in TEXTS.items() for match in re.finditer(figure.written, text)]
    assert found, f"nobody writes {figure.written!r} any more"
    for name, match in found:
        assert tuple(map(number, match.groups())) == figure.are(), f"{name}: {match[0]}"


@pytest.mark.parametrize("figure", COUNTS, ids=lambda figure: figure.written)
def test_counts_are_the_sources(figure: Figure) -> None:
    """Functions, faults and mutants are as many as the documents say."""
    is_the_sources(figure)


@pytest.mark.parametrize("figure", RETRIES, ids=lambda figure: figure.written)
def test_retries_are_the_manifests(figure: Figure) -> None:
    """How often, and for how long in all."""
    is_the_sources(figure)


@pytest.mark.parametrize("figure", RETENTIONS, ids=lambda figure: figure.written)
def test_retentions_are_the_manifests(figure: Figure) -> None:
    """Milliseconds are days."""
    is_the_sources(figure)


@pytest.mark.parametrize("figure", TIMEOUTS, ids=lambda figure: figure.written)
def test_timeouts_are_the_codes(figure: Figure) -> None:
    """What a customer waits for, and what is inside what."""
    is_the_sources(figure)


@pytest.mark.parametrize("figure", RESENDS, ids=lambda figure: figure.written)
def test_resends_are_the_codes(figure: Figure) -> None:
    """When an order that is on its way is asked for again."""
    is_the_sources(figure)


def test_an_hour_is_what_resend_waits_at_most() -> None:
    """README and docs/faults.md say that waits double up to an hour."""
    assert orders.RESEND_AT_MOST_EVERY_MS == 3_600_000
    assert "from a minute to an hour" in TEXTS["README.md"]
    assert "waits that double, up to an hour" in TEXTS["docs/faults.md"]
