"""How far the exploration goes, and how little it takes to see each rule left out."""

from dataclasses import dataclass

from proof.model.promises import ALOUD, LIVENESS, NEW_BASKETS
from proof.model.protocol import Mutation
from proof.model.world import CHARGED_AS_ORDERED, NOTHING_REFUSED, ONE_INTENTION, TRUE_ANSWER, Bounds


@dataclass(frozen=True)
class Configuration:
    """Bounds, and the number of states within them."""

    bounds: Bounds
    states: int


CONFIGURATIONS = {
    "orders": Configuration(Bounds(baskets=2, attempts=3, deposits=2, sums=2), 15_136),
    "archive": Configuration(
        Bounds(baskets=4, attempts=1, deposits=2, opening=2, in_flight=2, array_limits=(2,)), 8_296
    ),
    "numbers": Configuration(Bounds(baskets=0, numbers=(9, 1, 1, 2), opening=4, in_flight=2, array_limits=(2,)), 3_329),
    "forged": Configuration(Bounds(baskets=2, attempts=2, deposits=2, sums=2, forged=2), 2_522),
    "group commit": Configuration(
        Bounds(baskets=3, attempts=2, deposits=1, opening=2, in_flight=2, array_limits=(2,), batch=2), 15_038
    ),
    "deposits": Configuration(Bounds(deposits=3, sums=2, in_flight=2, array_limits=(2,)), 5_835),
    "rollback": Configuration(Bounds(baskets=2, attempts=2, deposits=2, sums=2, in_flight=2, rollback=True), 23_113),
    "all restored": Configuration(
        Bounds(baskets=2, attempts=2, deposits=1, sums=2, opening=1, restored=("all",), repair=True), 17_505
    ),
    "all restored, archives": Configuration(
        Bounds(baskets=2, deposits=1, opening=1, in_flight=1, array_limits=(1,), restored=("all",)), 13_465
    ),
    "all restored twice": Configuration(Bounds(deposits=1, restored=("all", "all")), 3_577),
    "orders restored": Configuration(
        Bounds(baskets=2, attempts=2, deposits=1, opening=1, in_flight=1, array_limits=(1,), restored=("orders",)),
        17_415,
    ),
    "billing restored": Configuration(
        Bounds(
            baskets=2,
            attempts=2,
            deposits=1,
            opening=1,
            in_flight=1,
            array_limits=(1,),
            restored=("billing",),
            repair=True,
        ),
        14_205,
    ),
    "notify restored": Configuration(Bounds(baskets=2, attempts=2, deposits=2, restored=("notify",)), 3_126),
    "archives restored": Configuration(
        Bounds(baskets=2, deposits=2, opening=1, in_flight=1, array_limits=(1,), restored=("archives",)), 12_350
    ),
    "accounts restored": Configuration(
        Bounds(baskets=2, deposits=1, opening=1, in_flight=1, array_limits=(1,), restored=("accounts",)), 7_188
    ),
    "orders and billing restored apart": Configuration(
        Bounds(attempts=2, deposits=1, restored=("orders", "billing")), 12_058
    ),
}
"""Explored by every run of the tests, in half a minute of one core."""

BIG = {
    "orders": Configuration(Bounds(baskets=3, attempts=3, deposits=3, sums=2), 319_397),
    "deposits": Configuration(Bounds(deposits=3, sums=2, opening=1, in_flight=2, array_limits=(2, 4)), 23_112),
    "archive": Configuration(
        Bounds(baskets=4, attempts=2, deposits=3, opening=2, in_flight=2, array_limits=(2,)), 106_410
    ),
    "three at once": Configuration(
        Bounds(baskets=4, attempts=2, deposits=1, opening=3, in_flight=3, array_limits=(2, 4)), 14_508
    ),
    "numbers": Configuration(
        Bounds(baskets=0, numbers=(9, 1, 1, 2, 5), opening=5, in_flight=2, array_limits=(2, 4)), 57_520
    ),
    "rollback": Configuration(Bounds(baskets=2, attempts=2, deposits=2, sums=2, in_flight=3, rollback=True), 35_153),
    "all restored": Configuration(
        Bounds(baskets=2, attempts=2, deposits=2, sums=2, opening=1, restored=("all",)), 38_438
    ),
    "all restored, the lost time delivered": Configuration(
        Bounds(baskets=2, attempts=2, deposits=1, restored=("all",), lost=True), 9_382
    ),
    "all restored twice": Configuration(Bounds(attempts=2, deposits=1, restored=("all", "all")), 20_210),
    "orders restored": Configuration(
        Bounds(
            baskets=2,
            attempts=2,
            deposits=1,
            opening=1,
            in_flight=1,
            array_limits=(1,),
            restored=("orders",),
            repair=True,
        ),
        43_218,
    ),
    "orders and billing restored apart": Configuration(
        Bounds(attempts=2, deposits=1, restored=("orders", "billing"), repair=True), 20_233
    ),
    "billing and orders restored apart": Configuration(
        Bounds(attempts=2, deposits=1, sums=2, restored=("billing", "orders")), 59_961
    ),
    "orders restored twice": Configuration(
        Bounds(baskets=2, opening=2, in_flight=1, array_limits=(1,), restored=("orders", "orders")), 10_919
    ),
    "archives and orders restored apart": Configuration(
        Bounds(baskets=2, opening=3, in_flight=1, array_limits=(1,), restored=("archives", "orders")), 8_637
    ),
}
"""Explored by `python -m proof.model --big`."""


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
    Catch(Mutation.PULL_BEFORE_INSERT, LIVENESS, Bounds(opening=1, in_flight=1, array_limits=(1,)), 4),
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
    Catch(
        Mutation.ABSENCE_BY_MAXIMUM,
        NOTHING_REFUSED,
        Bounds(0, 0, sums=0, numbers=(2, 1), opening=1, in_flight=1, array_limits=(1,)),
        4,
    ),
    Catch(
        Mutation.ABSENCE_BY_MAXIMUM,
        NEW_BASKETS,
        Bounds(opening=1, in_flight=1, array_limits=(1,), restored=("orders",)),
        9,
    ),
    Catch(
        Mutation.DECISION_UNCONDITIONAL,
        "a basket is charged at most once",
        Bounds(0, 0, sums=0, numbers=(2, 1), opening=3, in_flight=2, array_limits=(1,)),
        9,
    ),
    Catch(
        Mutation.PULL_GUARDED_BY_MAXIMUM,
        "balance = deposits - paid, never negative",
        Bounds(0, 0, sums=0, numbers=(2, 1), opening=2, in_flight=2, array_limits=(1,)),
        10,
    ),
    Catch(
        Mutation.COMPLETENESS_NOT_ASKED,
        "a basket is charged at most once",
        Bounds(opening=2, in_flight=1, array_limits=(1,), restored=("archives",)),
        10,
    ),
    Catch(
        Mutation.COMPLETENESS_NOT_ASKED,
        "a deposit is credited at most once",
        Bounds(0, 0, deposits=1, in_flight=1, array_limits=(1,), restored=("archives",)),
        8,
    ),
    Catch(
        Mutation.MOVE_INTO_INCOMPLETE,
        "a deposit is credited at most once",
        Bounds(0, 0, deposits=2, in_flight=1, array_limits=(1,), restored=("archives",)),
        11,
    ),
    Catch(
        Mutation.AHEAD_COUNTS,
        TRUE_ANSWER,
        Bounds(0, 0, deposits=2, in_flight=1, array_limits=(1,), restored=("accounts",)),
        9,
    ),
    Catch(Mutation.NO_SUCCESSOR_RULE, LIVENESS, Bounds(forged=1), 3),
    Catch(Mutation.NO_SUCCESSOR_RULE, CHARGED_AS_ORDERED, Bounds(0, 0, sums=0, opening=1, forged=1), 1),
    Catch(Mutation.BILLING_HEARS_THE_PAST, CHARGED_AS_ORDERED, Bounds(opening=1, restored=("all",)), 5),
    Catch(Mutation.ORDERS_HEARS_THE_PAST, "a basket is settled only by its own decision", Bounds(restored=("all",)), 6),
    Catch(
        Mutation.NOTIFY_HEARS_THE_PAST,
        "a notification never contradicts the charge",
        Bounds(opening=1, restored=("all",)),
        6,
    ),
    Catch(Mutation.EPOCH_NOT_EMITTED, LIVENESS, Bounds(restored=("all",)), 4),
    Catch(Mutation.EPOCH_NOT_RAISED, CHARGED_AS_ORDERED, Bounds(opening=1, restored=("all",)), 5),
    Catch(Mutation.EPOCH_BY_COUNTING, CHARGED_AS_ORDERED, Bounds(opening=1, restored=("all", "all")), 6),
    Catch(
        Mutation.OLD_PROCESS_WRITES,
        "balance = deposits - paid, never negative",
        Bounds(0, 0, deposits=1, in_flight=1, array_limits=(1,), restored=("all",)),
        6,
    ),
    Catch(Mutation.REPAIR_ASKS_AGAIN, CHARGED_AS_ORDERED, Bounds(opening=1, restored=("billing",), repair=True), 8),
    Catch(Mutation.OLDER_ATTEMPT_SILENT, ALOUD, Bounds(attempts=2, restored=("orders",)), 8),
)
"""EPOCH_BY_COUNTING needs a backup that is restored twice: it does not know the epoch that the first restore gave out.

POST_WITHOUT_ATTEMPT is no bug to fix but the documented limit: of clients that do not send the attempt, a request
repeated after a decline is a new order. It is charged at most once all the same."""


@dataclass(frozen=True)
class Damage:
    """A promise that a restore of one database by itself breaks, with every rule in place.

    The smallest bounds at which it does, and the length of a shortest history.
    """

    promise: str
    bounds: Bounds
    steps: int

    def __str__(self) -> str:
        return f"{self.bounds.restored[0]} restored: {self.promise}"


DAMAGES = (
    # Ordered again for another sum than was decided since the backup.
    Damage(LIVENESS, Bounds(sums=2, restored=("orders",)), 6),
    # Asked again for an attempt that billing was past.
    Damage(LIVENESS, Bounds(attempts=2, restored=("orders",)), 8),
    # Settled by decisions that billing has forgotten.
    Damage("a basket is settled only by its own decision", Bounds(restored=("billing",)), 6),
    # The attempt that follows a decline that billing has forgotten.
    Damage(LIVENESS, Bounds(attempts=2, restored=("billing",)), 7),
    # Whatever is missing from the archive.
    Damage(LIVENESS, Bounds(opening=1, in_flight=1, array_limits=(1,), restored=("archives",)), 7),
    # Moved to an archive that holds the basket already, from a time that the account does not know.
    Damage(
        "a notification never contradicts the charge",
        Bounds(attempts=2, deposits=1, in_flight=1, array_limits=(1,), restored=("accounts",)),
        17,
    ),
    # The same archive, restored after all, has an entry at the place of the one that is missing.
    Damage(
        "a basket is charged at most once",
        Bounds(baskets=2, opening=2, in_flight=1, array_limits=(1,), restored=("accounts", "archives")),
        17,
    ),
)
"""Why all three databases are restored as of one moment. What stays ordered then is refused aloud.

And why a backup of billing is of one moment in itself: a move does not look for entries that the account knows nothing
of, so archives that are newer than the accounts are mended before anybody goes on.
"""
