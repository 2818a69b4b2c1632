"""What can go wrong, and the dice that decide when: the same seed, the same faults.

A decision is asked for wherever something may fail; each has a number, so that one fault of a failing run can be
switched off while the others stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any


class Fault(StrEnum):
    """One way to fail, in the words of the table that a run ends with."""

    # To an operation of a function: a command to MongoDB or an emission.
    CRASH_BEFORE = "process crashes before it"
    CRASH_AFTER = "process crashes after it"

    # To a command to MongoDB, in front of the driver.
    COMMAND_NOT_SENT = "command: not sent, network error"
    COMMAND_REPLY_LOST = "command: applied, reply lost"
    COMMAND_CLOSED = "command: applied, connection closed"
    COMMAND_LATE = "command: timed out, applied later"

    # To a command to MongoDB, by a fail point of mongod: the driver's own retries meet these.
    MONGOD_REFUSES = "mongod: error, not applied"
    MONGOD_TIMES_OUT = "mongod: time limit exceeded, not applied"
    MONGOD_STEPS_DOWN = "mongod: stepped down, not applied, driver retries"
    MONGOD_CLOSES = "mongod: closes the connection, not applied, driver retries"
    MONGOD_CLOSES_TWICE = "mongod: closes two connections, not applied, driver retries"
    MONGOD_CLOSES_AFTER = "mongod: applied, closes the connection, driver retries"
    MONGOD_UNACKNOWLEDGED = "mongod: applied, write concern timed out"
    MONGOD_UNACKNOWLEDGED_ONCE = "mongod: applied, write concern error, driver retries"

    # To a command to MongoDB, by a primary that was replaced and does not know it yet.
    MONGOD_FROM_BEFORE = "mongod: a replaced primary answers from before"

    # To an emission.
    SINK_REFUSES = "sink: 503, not stored"
    SINK_TIMES_OUT = "sink: timed out, not stored"
    SINK_STORES_LATE = "sink: timed out, stored later"
    SINK_STORES_SILENTLY = "sink: stored, timed out"
    SINK_CLOSES = "sink: stored, connection closed, emitted again"

    # To a delivery by KafkaSource.
    DELIVERED_TWICE = "source: delivered twice"
    DELIVERED_AGAIN = "source: an earlier event delivered again"
    DELIVERY_LOST = "source: gives up, event lost"
    DELIVERY_DEAD = "source: gives up, dead letter redriven"
    DELIVERY_FORGOTTEN = "source: restarts and forgets the answer"
    DECISION_FORGED = "source: a forged decision, of another sum or user"
    REQUEST_FORGED = "source: a forged request, of an attempt ahead of its basket"

    # To an HTTP request.
    ANSWER_LOST = "client: never sees the answer"
    SENT_TWICE = "client: sends twice at the same time"

    HELD = "anything: held back while others overtake"
    TOPICS_REPLAYED = "both topics replayed from the earliest event"

    # By operators.
    RESTORED = "all databases restored to an earlier moment, a new epoch begun"
    RESTORED_APART = "one database or archive restored alone, a new epoch begun"


TO_READ = (
    *(Fault.CRASH_BEFORE, Fault.CRASH_AFTER),
    *(Fault.COMMAND_NOT_SENT, Fault.COMMAND_REPLY_LOST, Fault.COMMAND_CLOSED),
    *(Fault.MONGOD_REFUSES, Fault.MONGOD_TIMES_OUT, Fault.MONGOD_STEPS_DOWN),
    *(Fault.MONGOD_CLOSES, Fault.MONGOD_CLOSES_TWICE, Fault.MONGOD_FROM_BEFORE),
)
TO_WRITE = (
    *(*TO_READ, Fault.COMMAND_LATE),
    *(Fault.MONGOD_CLOSES_AFTER, Fault.MONGOD_UNACKNOWLEDGED, Fault.MONGOD_UNACKNOWLEDGED_ONCE),
)
TO_EMISSION = (
    *(Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.SINK_REFUSES, Fault.SINK_TIMES_OUT),
    *(Fault.SINK_STORES_LATE, Fault.SINK_STORES_SILENTLY, Fault.SINK_CLOSES),
)
TO_DELIVERY = (
    *(Fault.DELIVERED_TWICE, Fault.DELIVERED_AGAIN, Fault.DELIVERY_LOST, Fault.DELIVERY_DEAD),
    Fault.DELIVERY_FORGOTTEN,
)
TO_DECISION = (*TO_DELIVERY, Fault.DECISION_FORGED)
TO_REQUEST = (*TO_DELIVERY, Fault.REQUEST_FORGED)
"""An attempt that could be is not forged for billing: who may write to the topics is a matter of deployment."""
TO_CALL = (Fault.ANSWER_LOST, Fault.SENT_TWICE)


RETRIED_BY_DRIVER = (
    *(Fault.MONGOD_STEPS_DOWN, Fault.MONGOD_CLOSES, Fault.MONGOD_CLOSES_TWICE),
    *(Fault.MONGOD_CLOSES_AFTER, Fault.MONGOD_UNACKNOWLEDGED_ONCE),
)


@dataclass(frozen=True)
class FailPoint:
    """A fail point of mongod, as `configureFailPoint` takes it."""

    data: Mapping[str, Any]
    name: str = "failCommand"
    times: int = 1


_RETRYABLE = {"errorLabels": ["RetryableWriteError"]}
_STEPPED_DOWN, _MAX_TIME_EXPIRED, _UNKNOWN_ERROR, _WRITE_CONCERN_FAILED, _EXCEEDED_TIME = 189, 50, 8, 64, 262

FAIL_POINTS: Mapping[Fault, FailPoint] = {
    Fault.MONGOD_REFUSES: FailPoint({"errorCode": _UNKNOWN_ERROR}),
    Fault.MONGOD_TIMES_OUT: FailPoint({"errorCode": _MAX_TIME_EXPIRED}),
    Fault.MONGOD_STEPS_DOWN: FailPoint({"errorCode": _STEPPED_DOWN, **_RETRYABLE}),
    Fault.MONGOD_CLOSES: FailPoint({"closeConnection": True}),
    Fault.MONGOD_CLOSES_TWICE: FailPoint({"closeConnection": True}, times=2),
    # failCommand closes before it executes; this one closes once the write has committed.
    Fault.MONGOD_CLOSES_AFTER: FailPoint({"closeConnection": True}, name="onPrimaryTransactionalWrite"),
    Fault.MONGOD_UNACKNOWLEDGED: FailPoint(
        {"writeConcernError": {"code": _WRITE_CONCERN_FAILED, "errmsg": "timed out", "errInfo": {"wtimeout": True}}}
    ),
    Fault.MONGOD_UNACKNOWLEDGED_ONCE: FailPoint(
        {"writeConcernError": {"code": _EXCEEDED_TIME, "errmsg": "try again"}, **_RETRYABLE}
    ),
}

_RATES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35)
"""How likely one thing is to fail, by run: quiet runs get far, rough ones meet faults upon faults."""


@dataclass(eq=False)
class Hit:
    """A fault that was injected."""

    number: int
    """Of the decision that injected it."""

    fault: Fault
    mattered: bool = False
    """Somebody had to do something again because of it, or found it done."""


class Faults:
    """Decides what fails. Each run has its own rate and choice of faults, for some bugs hide behind other faults."""

    def __init__(self, seed: int, switched_off: frozenset[int] = frozenset()) -> None:
        self._random = Random(f"faults {seed}")
        self._rate = self._random.choice(_RATES)
        self._enabled = {fault for fault in Fault if self._random.random() < 0.6}
        self._switched_off = switched_off
        self._decisions = 0
        self.not_yet = {Fault.MONGOD_FROM_BEFORE}
        """What cannot be before something else has happened."""
        self.over = False
        self.hits: list[Hit] = []

    def can_be(self, fault: Fault) -> bool:
        """Tell whether a fault is among those of this run."""
        return self._rate > 0 and fault in self._enabled

    def decide(self, possible: Sequence[Fault], rate: float | None = None) -> Hit | None:
        """Return the fault to inject here, if any; at a rate of its own if one is given."""
        self._decisions += 1
        strikes = self._random.random() < (self._rate if rate is None else rate)
        fault = self._random.choice(possible)
        if self.over or not strikes or fault not in self._enabled - self.not_yet:
            return None
        if self._decisions in self._switched_off:
            return None
        hit = Hit(self._decisions, fault)
        self.hits.append(hit)
        return hit
