"""What one look at the shop's state has found: whether orders get through, and if not, why.

What could not be looked at is None, never a zero that would look fine. `operate.watch` looks, `operate.troubles` says
what is wrong.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from operate.actions import Action
from operate.groups import Group
from operate.letters import Letter
from shop.messages import rfc3339
from shop.state import ORDERED

LONG: Final = timedelta(seconds=60)
"""An order that is undecided for longer is stuck: resend_orders asks for its payment again from then on."""

RECENT: Final = timedelta(minutes=10)
"""How far back decisions are counted."""

DECISIONS: Final = 2_000
"""How many decisions are counted, the latest: enough to tell a share, and some milliseconds."""

SILENT: Final = "does not answer GET /healthz"
"""How what is wrong with a consumer begins when no answer came."""

CAUSES: Final[Mapping[str, str]] = {
    "mongodb_away": "MongoDB does not answer: start it, or correct its address; nothing is lost meanwhile",
    "not_set_up": "run python -m shop.setup, or correct the name of the database",
    "epochs_differ": "after a restore run python -m shop.setup --restored",
    "kafka_away": "start Kafka, or correct its address; ordered baskets are asked for again once it is back",
    "no_member": "see why its KafkaSource is absent or not ready: kubectl get kafkasource",
    "no_answer": "restart the function; its log says what it did last",
    "not_ready": "correct the function's database, or run python -m shop.setup",
    "behind": "see the function's log; when it is only slow, let it have more processes",
    "dead_letters": "read the reason, correct what it names, then redrive: orders dlq list",
    "resend_late": "see whether the PingSource is there, and the log of resend_orders",
    "undecided": "look at one of the orders: orders event show",
    "verify_failed": "orders verify lists each problem with what can be done",
}
"""What may be wrong, the deepest first, and what to do."""


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong."""

    cause: str
    """One of CAUSES."""

    about: str
    """The function or the service; empty for all."""

    says: str

    @property
    def remedy(self) -> str:
        """Return what to do."""
        return CAUSES[self.cause]

    def as_json(self) -> dict[str, str | None]:
        """Return it for JSON."""
        return {"cause": self.cause, "about": self.about or None, "says": self.says, "remedy": self.remedy}


@dataclass(frozen=True)
class Orders:
    """What MongoDB knows of all orders."""

    now: datetime
    """By the clock of the `orders` database, which orders and resends go by."""

    baskets: Mapping[str, int]
    """How many are in each status; what is paid is estimated from the others."""

    oldest: datetime | None
    """When the oldest undecided order was placed."""

    stuck: int
    """How many are undecided for longer than LONG: resend_orders asks for their payment again."""

    overdue: int
    """How many of them it should have asked for long ago."""

    verified: Action | None
    """The last verification of everybody."""

    @property
    def undecided(self) -> int:
        """Return how many are ordered and neither paid nor declined."""
        return self.baskets[ORDERED]

    @property
    def oldest_s(self) -> float:
        """Return the age of the oldest undecided order; 0 when there is none."""
        return 0.0 if self.oldest is None else max(0.0, (self.now - self.oldest).total_seconds())


@dataclass(frozen=True)
class Status:
    """What one look has found; None is what could not be looked at."""

    at: datetime
    orders: Orders | None = None
    groups: Mapping[str, Group] | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with each consumer that was asked whether it is well; empty for one that is."""

    letters: Sequence[Letter] | None = None
    """The dead letters that wait for somebody."""

    are_all: bool = True
    """Whether these are all that wait: only the latest records are looked at."""

    decided: Mapping[tuple[str, str], int] | None = None
    """How many of the latest DECISIONS within RECENT had each outcome, with its decline code: empty for paid."""

    troubles: Sequence[Trouble] = ()
    """What is wrong, the deepest cause first."""

    seconds: float = 0.0

    @property
    def waiting(self) -> Counter[tuple[str, str]]:
        """Return how many dead letters wait, by function and code."""
        return Counter(map(kind_of, self.letters or ()))

    def lag_s(self, group: Group) -> float:
        """Return for how long the oldest record of a group has been waiting."""
        return 0.0 if group.oldest is None else max(0.0, (self.at - group.oldest).total_seconds())

    def of(self, cause: str, about: str = "") -> Trouble | None:
        """Return what is wrong with somebody for a cause; None when nothing is."""
        return next((each for each in self.troubles if (each.cause, each.about) == (cause, about)), None)

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        orders, verified = self.orders, self.orders.verified if self.orders else None
        return {
            "at": rfc3339(self.at),
            "fine": not self.troubles,
            "troubles": [trouble.as_json() for trouble in self.troubles],
            "baskets": None if orders is None else dict(orders.baskets),
            "undecided": None if orders is None else orders.undecided,
            "oldest_undecided_s": None if orders is None else round(orders.oldest_s, 1),
            "resent": None if orders is None else orders.stuck,
            "decided": None
            if self.decided is None
            else [
                {"outcome": outcome, "code": code or None, "decisions": n}
                for (outcome, code), n in self.decided.items()
            ],
            "groups": None
            if self.groups is None
            else {
                name: {"lag": group.lag, "lag_s": round(self.lag_s(group), 1), "members": group.members}
                for name, group in self.groups.items()
            },
            "dead_letters_waiting": None
            if self.letters is None
            else [{"function": name, "code": code, "letters": n} for (name, code), n in self.waiting.items()],
            "verified": None if verified is None else verified.as_json(),
            "seconds": round(self.seconds, 3),
        }


def kind_of(letter: Letter) -> tuple[str, str]:
    """Return the function that refused a letter, and the code it gave: its own, else the status, else no answer."""
    return letter.consumer, letter.error or letter.code or "no_answer"


def waiting(status: Status, group: Group) -> str:
    """Say how much a group has before it."""
    if not group.lag:
        return "no event waits for it"
    events = "1 event waits" if group.lag == 1 else f"{group.lag} events wait"
    return f"{events} for it, the oldest for {status.lag_s(group):.0f} s"


def decided(status: Status) -> str:
    """Say how many of the latest decisions had which outcome."""
    found = {f"{outcome} {code}".strip(): number for (outcome, code), number in (status.decided or {}).items()}
    total = sum(found.values())
    of_what = (
        f"of the latest {DECISIONS}" if total == DECISIONS else f"in the last {RECENT // timedelta(minutes=1)} min"
    )
    return f"{', '.join(f'{name} {number}' for name, number in found.items() if number) or 'nothing'} {of_what}"
