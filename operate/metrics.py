"""Say what a look has found as Prometheus reads it: gauges of state, each with its name in one place.

The format is written by hand: it is three lines for each name, and a library would keep state that nobody has here.
What could not be looked at is left out, never 0, so an alert on it says "absent" and not "fine".
"""

from collections.abc import Iterator, Mapping
from typing import Final

from operate.places import CONSUMERS
from operate.status import CAUSES, DECISIONS, Status

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

METRICS: Final[Mapping[str, str]] = {
    "shop_baskets": "Baskets by status: open, ordered, paid. What is paid is estimated.",
    "shop_orders_undecided": "Orders that are neither paid nor declined.",
    "shop_orders_undecided_oldest_seconds": "Age of the oldest undecided order; 0 when there is none.",
    "shop_orders_resent": "Orders undecided for so long that resend_orders asks for their payment again.",
    "shop_orders_resend_overdue": "Orders that resend_orders should have asked for long ago; counted up to 1000.",
    "shop_decisions": f"Decisions of the last ten minutes by outcome and decline code, {DECISIONS} at most.",
    "shop_consumer_lag": "Events that a consumer group has not acknowledged.",
    "shop_consumer_lag_seconds": "Age of the oldest of them; 0 when there is none.",
    "shop_consumer_members": "Members of a consumer group; 0 when its KafkaSource is absent or not ready.",
    "shop_consumer_up": "1 when the consumer answers GET /healthz with 200; absent when it cannot be asked.",
    "shop_dead_letters_waiting": "Dead letters that wait for somebody, by function and code.",
    "shop_verify_problems": "Problems that the last verification of everybody has found.",
    "shop_verify_timestamp_seconds": "When the last verification of everybody began.",
    "shop_mongodb_up": "1 when MongoDB answers.",
    "shop_kafka_up": "1 when Kafka answers; absent when nothing says where it is.",
    "shop_trouble": "How many troubles there are by cause; 0 for a cause that is not there.",
    "shop_status_seconds": "How long this look took.",
}
"""Every name, and what it means. All are gauges."""


def exposition(status: Status) -> str:
    """Return the whole text."""
    lines: list[str] = []
    samples: dict[str, list[str]] = {}
    for name, labels, value in _samples(status):
        samples.setdefault(name, []).append(f"{name}{_labels(labels)} {value:.10g}")
    for name, means in METRICS.items():
        if name in samples:
            lines += [f"# HELP {name} {means}", f"# TYPE {name} gauge", *samples[name]]
    return "\n".join([*lines, ""])


def _samples(status: Status) -> Iterator[tuple[str, dict[str, str], float]]:
    orders = status.orders
    yield "shop_mongodb_up", {}, float(orders is not None)
    if orders is not None:
        for each, number in orders.baskets.items():
            yield "shop_baskets", {"status": each}, number
        yield "shop_orders_undecided", {}, orders.undecided
        yield "shop_orders_undecided_oldest_seconds", {}, orders.oldest_s
        yield "shop_orders_resent", {}, orders.stuck
        yield "shop_orders_resend_overdue", {}, orders.overdue
        if orders.verified is not None:
            yield "shop_verify_problems", {}, orders.verified.problems or 0
            yield "shop_verify_timestamp_seconds", {}, orders.verified.at.timestamp()
    for (outcome, code), number in (status.decided or {}).items():
        yield "shop_decisions", {"outcome": outcome, "code": code}, number
    if status.groups is not None or status.of("kafka_away"):
        yield "shop_kafka_up", {}, float(status.of("kafka_away") is None)
    for name, group in (status.groups or {}).items():
        yield "shop_consumer_lag", {"group": name}, group.lag
        yield "shop_consumer_lag_seconds", {"group": name}, status.lag_s(group)
        yield "shop_consumer_members", {"group": name}, group.members
    for name, wrong in status.answers.items():
        yield "shop_consumer_up", {"function": name}, float(not wrong)
    if status.letters is not None:
        # A consumer that is known is there with 0, so that a rule sees the first letter come.
        waiting = {(name, ""): 0 for name in CONSUMERS if name not in {each for each, _ in status.waiting}}
        for (function, code), number in {**waiting, **status.waiting}.items():
            yield "shop_dead_letters_waiting", {"function": function, "code": code}, number
    for cause in CAUSES:
        yield "shop_trouble", {"cause": cause}, sum(trouble.cause == cause for trouble in status.troubles)
    yield "shop_status_seconds", {}, status.seconds


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    """Escape a label's value: a dead letter's attributes are whatever somebody wrote to the topic."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
