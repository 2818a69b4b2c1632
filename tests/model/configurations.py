"""How far the exploration goes, and how little it takes to see each rule left out."""

from dataclasses import dataclass

from tests.model.promises import LIVENESS
from tests.model.protocol import Mutation
from tests.model.world import NOTHING_REFUSED, ONE_INTENTION, TRUE_ANSWER, Bounds


@dataclass(frozen=True)
class Configuration:
    """Bounds, and the number of states within them."""

    bounds: Bounds
    states: int


CONFIGURATIONS = {
    "orders": Configuration(Bounds(baskets=2, attempts=3, deposits=3, sums=2), 40_597),
    "archive": Configuration(
        Bounds(baskets=4, attempts=2, deposits=3, opening=2, in_flight=2, array_limits=(2,)), 70_816
    ),
    "group commit": Configuration(
        Bounds(baskets=4, attempts=2, deposits=1, opening=3, in_flight=2, array_limits=(2,), batch=2), 51_651
    ),
    "deposits": Configuration(
        Bounds(baskets=1, deposits=3, sums=2, opening=1, in_flight=2, array_limits=(2, 4)), 15_912
    ),
    "rollback": Configuration(Bounds(baskets=2, attempts=2, deposits=2, sums=2, in_flight=2, rollback=True), 23_113),
}
"""Explored by every run of the tests, in half a minute of one core."""

BIG = {
    "orders": Configuration(Bounds(baskets=3, attempts=3, deposits=3, sums=2), 319_397),
    "archive": Configuration(
        Bounds(baskets=4, attempts=2, deposits=1, sums=2, opening=2, in_flight=2, array_limits=(2,)), 139_750
    ),
    "three at once": Configuration(
        Bounds(baskets=4, attempts=2, deposits=1, opening=3, in_flight=3, array_limits=(2, 4)), 14_508
    ),
    "group commit": Configuration(
        Bounds(baskets=3, attempts=2, deposits=1, opening=2, in_flight=3, array_limits=(2,), batch=2), 69_628
    ),
    "deposits": Configuration(Bounds(baskets=0, deposits=5, sums=2, in_flight=2, array_limits=(2, 4)), 12_860),
    "rollback": Configuration(Bounds(baskets=2, attempts=2, deposits=2, sums=2, in_flight=3, rollback=True), 35_153),
}
"""Explored by `python -m tests.model --big`, in four minutes of one core."""


@dataclass(frozen=True)
class Catch:
    """A mutation, a promise it breaks, the smallest bounds at which it does, and the length of a shortest history."""

    mutation: Mutation
    promise: str
    bounds: Bounds
    steps: int

    def __str__(self) -> str:
        return f"{self.mutation.name}: {self.promise}"


CATCHES = (
    Catch(Mutation.NO_STICKY_DECLINE, "a notification never contradicts the charge", Bounds(deposits=1), 6),
    Catch(Mutation.NO_STICKY_DECLINE, "a decision never changes", Bounds(), 5),
    Catch(Mutation.NO_ATTEMPT_IN_SETTLEMENT, "a basket is settled only by its own decision", Bounds(attempts=2), 6),
    Catch(Mutation.NO_ATTEMPT_IN_SETTLEMENT, TRUE_ANSWER, Bounds(attempts=2), 7),
    Catch(Mutation.NO_ATTEMPT_IN_SETTLEMENT, "attempt n + 1 only after n was declined", Bounds(attempts=3), 7),
    Catch(Mutation.CHARGE_BEFORE_REMEMBER, "a basket is charged at most once", Bounds(opening=2), 4),
    Catch(
        Mutation.ARCHIVED_THROUGH_NOT_RAISED,
        "a basket is charged at most once",
        Bounds(opening=2, in_flight=1, array_limits=(1,)),
        6,
    ),
    Catch(Mutation.PULL_BEFORE_INSERT, NOTHING_REFUSED, Bounds(opening=1, in_flight=1, array_limits=(1,)), 5),
    Catch(
        Mutation.PULL_UNCONDITIONAL,
        "balance = deposits - paid, never negative",
        Bounds(opening=1, in_flight=2, array_limits=(1,)),
        8,
    ),
    Catch(
        Mutation.OUTCOME_BY_ABSENCE,
        "a notification never contradicts the charge",
        Bounds(opening=1, in_flight=1, array_limits=(1,), batch=1),
        7,
    ),
    Catch(Mutation.OLDER_ATTEMPT_EMITTED, "nothing is emitted twice with other content", Bounds(attempts=2), 8),
    Catch(Mutation.RESEND_WITHOUT_MAJORITY, "nothing is emitted that MongoDB forgets", Bounds(rollback=True), 5),
    Catch(
        Mutation.RESEND_WITHOUT_MAJORITY,
        "nothing is emitted twice with other content",
        Bounds(sums=2, rollback=True),
        7,
    ),
    Catch(Mutation.DECISION_WITHOUT_MAJORITY, "a decision never changes", Bounds(rollback=True), 7),
    Catch(Mutation.NO_RESEND, LIVENESS, Bounds(), 2),
    Catch(Mutation.POST_WITHOUT_ATTEMPT, ONE_INTENTION, Bounds(attempts=2), 5),
    Catch(Mutation.CREATE_USER_REPLACES_STUB, "a notification never contradicts the charge", Bounds(deposits=1), 6),
    Catch(Mutation.NEXT_BASKET_EARLY, "basket n + 1 only after n is paid", Bounds(baskets=2, attempts=0, sums=0), 2),
    Catch(
        Mutation.DEPOSIT_UNCONDITIONAL,
        "a deposit is credited at most once",
        Bounds(baskets=0, attempts=0, deposits=1, in_flight=1, array_limits=(1,)),
        5,
    ),
)
"""POST_WITHOUT_ATTEMPT is no bug to fix but the documented limit: of clients that do not send the attempt, a request
repeated after a decline is a new order. It is charged at most once all the same."""
