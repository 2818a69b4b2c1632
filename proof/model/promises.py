"""What must hold in every state, whatever happened before: the promises of the shop, each a predicate.

Notifications are the emitted decisions (see `world`), so that a promise about `decided` is one about notifications.

After a restore a promise is about the history that survived: a basket that was charged in the lost time may be charged
again, for the money came back with the restore, and an order of the lost time that nobody remembers is owed by nobody.
The ledgers of billing are restored with it, and events are judged within their epoch. After a restore of all three
databases as of one moment everything is promised; `STANDING` is what is left when one was restored alone.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial

from proof.model.protocol import Payment, Refusal, find, recall
from proof.model.world import CHARGED_AS_ORDERED, NOTHING_REFUSED, ONE_INTENTION, TRUE_ANSWER, Bounds, Model, World

Promise = Callable[[World], bool]


def charged_at_most_once(world: World) -> bool:
    """Tell whether money left the account for each basket at most once."""
    charged = [decision.basket for decision in world.billing.decisions if decision.outcome == "paid"]
    return len(charged) == len(set(charged))


def credited_at_most_once(world: World) -> bool:
    """Tell whether each key was credited at most once."""
    keys = [credit.key for credit in world.billing.credits]
    return len(keys) == len(set(keys))


def balance_is_deposits_minus_paid(world: World) -> bool:
    """Tell whether the balance is what was credited minus what was charged, by the user document alone as well."""
    billing = world.billing
    user = billing.user
    balance = user.balance or 0
    deposits = sum(entry.sum for entry in user.deposits) + user.archived.deposits.sum
    paid = sum(entry.sum for entry in user.paid_baskets) + user.archived.paid_baskets.sum
    credited = sum(credit.sum for credit in billing.credits)
    charged = sum(decision.sum for decision in billing.decisions if decision.outcome == "paid")
    return 0 <= balance == deposits - paid == credited - charged


def settled_as_decided(world: World) -> bool:
    """Tell whether each basket is paid by its own charge and sum, or open again by its own decline, sum and reason."""
    for name, status, attempt, sum_, reason in world.baskets:
        outcome = "paid" if status == "paid" else reason
        if status == "ordered" or outcome is None:
            continue
        if all(made[:4] != (name, attempt, sum_, outcome) for made in world.billing.decisions):
            return False
    return True


def decided_once(world: World) -> bool:
    """Tell whether (basket, attempt) was decided once, with one sum and reason, and only decisions made are told.

    Asked again, the user document says the same, or that the attempt is an older one.
    """
    decisions = world.billing.decisions
    made = {decision[:4] for decision in decisions}
    if len({decision[:2] for decision in decisions}) < len(decisions):
        return False
    if not all(told[:4] in made for told in world.of_now(world.decided)):
        return False
    return all(recall(world.billing, Payment(*each[:3], each.epoch)) in (each, Refusal.OLDER) for each in decisions)


def emitted_with_one_content(world: World) -> bool:
    """Tell whether every event emitted again had the same content, and every notification has it, too."""
    emitted = (world.of_now(world.requested), world.of_now(world.decided), world.notifications())
    return all(len({event[:2] for event in events}) == len(events) for events in emitted)


def emitted_as_stored(world: World) -> bool:
    """Tell whether every payment asked for is of an order that is there, so that nothing emitted was rolled back."""
    for name, attempt, sum_, _ in world.of_now(world.requested):
        basket = find(world.baskets, name)
        if not basket or basket.attempt < attempt or (basket.attempt == attempt and basket.sum != sum_):
            return False
    return True


def notified_as_charged(world: World) -> bool:
    """Tell whether a notification says paid exactly when its basket was charged in its attempt."""
    charges = {decision[:3] for decision in world.billing.decisions if decision.outcome == "paid"}
    return all((decision.outcome == "paid") == (decision[:3] in charges) for decision in world.notifications())


def one_unpaid_basket(world: World) -> bool:
    """Tell whether all baskets but the last are paid."""
    return all(basket.status == "paid" for basket in world.baskets[:-1])


def attempts_follow_declines(world: World) -> bool:
    """Tell whether every attempt before a basket's last was declined."""
    declined = {decision[:2] for decision in world.billing.decisions if decision.outcome != "paid"}
    return all((basket.name, attempt) in declined for basket in world.baskets for attempt in range(1, basket.attempt))


ONE_UNPAID = "basket n + 1 only after n is paid"

SAFETY: Mapping[str, tuple[Promise, Collection[str]]] = {
    "a basket is charged at most once": (charged_at_most_once, ["billing"]),
    "a deposit is credited at most once": (credited_at_most_once, ["billing"]),
    "balance = deposits - paid, never negative": (balance_is_deposits_minus_paid, ["billing"]),
    "a basket is settled only by its own decision": (settled_as_decided, ["baskets", "billing"]),
    "a decision never changes": (decided_once, ["billing", "decided", "epoch"]),
    "nothing is emitted twice with other content": (
        emitted_with_one_content,
        ["requested", "decided", "recorded", "epoch"],
    ),
    "nothing is emitted that MongoDB forgets": (emitted_as_stored, ["requested", "baskets", "epoch"]),
    "a notification never contradicts the charge": (
        notified_as_charged,
        ["billing", "decided", "recorded", "epoch"],
    ),
    ONE_UNPAID: (one_unpaid_basket, ["baskets"]),
    "attempt n + 1 only after n was declined": (attempts_follow_declines, ["baskets", "billing"]),
}
"""Each with what it reads of a state: where nothing of it changed, it holds as it did before."""

# Promises about what becomes of a state when faults stop there.

LIVENESS = "when faults stop, each ordered basket gets decided and settled"
ALOUD = "when faults stop, whatever stays ordered is refused aloud"
NEW_BASKETS = "when faults stop, each ordered basket that was made since the restore gets decided and settled"


def every_order_heals(model: Model, world: World) -> bool:
    """Tell whether no basket stays ordered."""
    return not any(model.stuck(world))


def stuck_aloud(model: Model, world: World) -> bool:
    """Tell whether each basket that stays ordered leaves a dead letter: whose text says why, or beside an error log."""
    aloud = (Refusal.CONTRADICTION, Refusal.INCOMPLETE)
    return all(refusal in aloud for _, refusal in model.stuck(world))


def new_baskets_heal(model: Model, world: World) -> bool:
    """Tell whether no basket stays ordered that was made since the latest restore."""
    return all(basket.name.made < world.restores for basket, _ in model.stuck(world))


AFTER_FAULTS: Mapping[str, Callable[[Model, World], bool]] = {
    LIVENESS: every_order_heals,
    ALOUD: stuck_aloud,
    NEW_BASKETS: new_baskets_heal,
}
"""All of them read just the databases, and how often they were restored."""

ALL = (*SAFETY, NOTHING_REFUSED, TRUE_ANSWER, ONE_INTENTION, CHARGED_AS_ORDERED, *AFTER_FAULTS)

_STANDING = {
    "a basket is charged at most once",
    "a deposit is credited at most once",
    "balance = deposits - paid, never negative",
    "nothing is emitted that MongoDB forgets",
    "a notification never contradicts the charge",  # of what was told since the restore
    ONE_UNPAID,
    CHARGED_AS_ORDERED,
    ALOUD,
}


def promised(bounds: Bounds) -> Collection[str]:
    """Return the promises that stand within bounds: fewer where a database may be restored alone."""
    if bounds.numbers:  # that no sound history of orders leads to
        return set(ALL) - {ONE_UNPAID}
    alone = set(bounds.restored) - {"all", "notify"}
    if not alone:
        return ALL
    standing = _STANDING if "archives" in alone else {*_STANDING, NEW_BASKETS}
    return standing - {"a notification never contradicts the charge"} if "accounts" in alone else standing


Judge = Callable[[World, World], str | None]


def judge(model: Model, promises: Collection[str]) -> Judge:
    """Return what names the first of these promises that a state breaks, given the state before it, which broke none.

    A promise is looked at again only when something changed that it reads.
    """
    field = World._fields.index
    looks: list[tuple[str, Promise, list[int]]] = [
        (promise, holds, [field(name) for name in reads])
        for promise, (holds, reads) in SAFETY.items()
        if promise in promises
    ]
    databases = [field(name) for name in ("baskets", "billing", "epoch", "restores")]
    looks += [
        (promise, partial(holds, model), databases) for promise, holds in AFTER_FAULTS.items() if promise in promises
    ]

    def first_broken(before: World, after: World) -> str | None:
        changed = [new is not old for new, old in zip(after, before, strict=True)]
        for promise, holds, reads in looks:
            if any(changed[index] for index in reads) and not holds(after):
                return promise
        return None

    return first_broken
