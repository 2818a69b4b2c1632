"""What must hold in every state, whatever happened before: the promises of the shop, each a predicate.

Notifications are the emitted decisions (see `world`), so that a promise about `decided` is one about notifications.
"""

from collections.abc import Callable, Mapping

from tests.model.protocol import Decision, Payment, Refusal, recall
from tests.model.world import NOTHING_REFUSED, ONE_INTENTION, TRUE_ANSWER, World

Promise = Callable[[World], bool]


def charged_at_most_once(world: World) -> bool:
    """Tell whether money left the account for each basket at most once."""
    charged = [decision.number for decision in world.billing.decisions if decision.outcome == "paid"]
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
    deposits = sum(entry.sum for entry in user.deposits) + user.archived_deposited
    paid = sum(entry.sum for entry in user.paid_baskets) + user.archived_paid
    credited = sum(credit.sum for credit in billing.credits)
    charged = sum(decision.sum for decision in billing.decisions if decision.outcome == "paid")
    return 0 <= balance == deposits - paid == credited - charged


def settled_as_decided(world: World) -> bool:
    """Tell whether each basket is paid by its own charge and sum, or open again by its own decline, sum and reason."""
    for number, basket in enumerate(world.baskets, 1):
        if basket.status == "paid":
            told = Decision(number, basket.attempt, basket.sum, "paid")
        elif basket.status == "open" and basket.reason:
            told = Decision(number, basket.attempt, basket.sum, basket.reason)
        else:
            continue
        if told not in world.billing.decisions:
            return False
    return True


def decided_once(world: World) -> bool:
    """Tell whether (basket, attempt) was decided once, with one sum and reason, and only decisions made are told.

    Asked again, the user document says the same, or that the attempt is an older one.
    """
    decisions = world.billing.decisions
    if len({decision[:2] for decision in decisions}) < len(decisions) or not set(world.decided) <= set(decisions):
        return False
    return all(recall(world.billing, Payment(*made[:3])) in (made, Refusal.OLDER) for made in decisions)


def emitted_with_one_content(world: World) -> bool:
    """Tell whether every event emitted again had the same content."""
    return all(len({event[:2] for event in events}) == len(events) for events in (world.requested, world.decided))


def emitted_as_stored(world: World) -> bool:
    """Tell whether every payment asked for is of an order that is there, so that nothing emitted was rolled back."""
    for number, attempt, sum_ in world.requested:
        basket = world.baskets[number - 1] if number <= len(world.baskets) else None
        if not basket or basket.attempt < attempt or (basket.attempt == attempt and basket.sum != sum_):
            return False
    return True


def notified_as_charged(world: World) -> bool:
    """Tell whether a notification says paid exactly when its basket was charged in its attempt."""
    charges = {decision[:3] for decision in world.billing.decisions if decision.outcome == "paid"}
    return all((decision.outcome == "paid") == (decision[:3] in charges) for decision in world.decided)


def one_unpaid_basket(world: World) -> bool:
    """Tell whether all baskets but the last are paid."""
    return all(basket.status == "paid" for basket in world.baskets[:-1])


def attempts_follow_declines(world: World) -> bool:
    """Tell whether every attempt before a basket's last was declined."""
    declined = {decision[:2] for decision in world.billing.decisions if decision.outcome != "paid"}
    return all(
        (number, attempt) in declined
        for number, basket in enumerate(world.baskets, 1)
        for attempt in range(1, basket.attempt)
    )


def heals(world: World) -> bool:
    """Tell whether no basket is left ordered, where `Model.without_faults` led."""
    return all(basket.status != "ordered" for basket in world.baskets)


SAFETY: Mapping[str, Promise] = {
    "a basket is charged at most once": charged_at_most_once,
    "a deposit is credited at most once": credited_at_most_once,
    "balance = deposits - paid, never negative": balance_is_deposits_minus_paid,
    "a basket is settled only by its own decision": settled_as_decided,
    "a decision never changes": decided_once,
    "nothing is emitted twice with other content": emitted_with_one_content,
    "nothing is emitted that MongoDB forgets": emitted_as_stored,
    "a notification never contradicts the charge": notified_as_charged,
    "basket n + 1 only after n is paid": one_unpaid_basket,
    "attempt n + 1 only after n was declined": attempts_follow_declines,
}
LIVENESS = "when faults stop, each ordered basket gets decided and settled"
ALL = (*SAFETY, NOTHING_REFUSED, TRUE_ANSWER, ONE_INTENTION, LIVENESS)
