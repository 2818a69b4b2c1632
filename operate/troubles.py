"""Say what is wrong with a shop, from what a look has found: each cause in words, for those who can do something."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

from operate.places import KNOWN
from operate.status import CAUSES, LONG, SILENT, Status, Trouble, kind_of, waiting
from shop.messages import rfc3339

_BEHIND: Final = timedelta(seconds=45)
"""How old what a group has not acknowledged may be: retries end after 31 s, and offsets are committed each 5 s."""


def of(status: Status, found: Iterable[Trouble], *, mongodb: str, kafka: str) -> tuple[Trouble, ...]:
    """Return all that is wrong, the deepest cause first: what the look found itself, and what follows from the status.

    `mongodb` and `kafka` say what kept the look from them; empty for nothing.
    """
    away = [Trouble("mongodb_away", "", f"MongoDB does not answer: {mongodb}")] if mongodb else []
    away += [Trouble("kafka_away", "", kafka)] if kafka else []
    ranks = list(CAUSES)
    every = (*away, *found, *of_consumers(status), *of_letters(status), *of_orders(status))
    return tuple(sorted(every, key=lambda trouble: ranks.index(trouble.cause)))


def of_consumers(status: Status) -> Iterator[Trouble]:
    """Yield why a consumer does not take its events: nobody brings them, or it does not answer, or it is not ready."""
    for name in KNOWN:
        group = (status.groups or {}).get(name)
        waits = "" if group is None else f"; {waiting(status, group)}"
        answer = status.answers.get(name, "")
        if group is not None and not group.members:
            why = "has no member in its consumer group: its KafkaSource is absent or not ready"
            yield Trouble("no_member", name, f"{name} {why}{waits}")
        if answer:
            cause = "no_answer" if answer.startswith(SILENT) else "not_ready"
            yield Trouble(cause, name, f"{name} {answer}{waits}")
        elif group is not None and group.members and status.lag_s(group) > _BEHIND.total_seconds():
            asked = "it answers, so it is slow, or says that it cannot yet" if name in status.answers else "see its log"
            yield Trouble("behind", name, f"{name} is behind{waits}; {asked}")


def of_letters(status: Status) -> Iterator[Trouble]:
    """Yield the dead letters that wait, by function and code, with the latest reason of each."""
    at_least = "" if status.are_all else "at least "
    for (consumer, code), number in status.waiting.most_common():
        last = max(
            (each for each in status.letters or () if kind_of(each) == (consumer, code)), key=lambda each: each.at
        )
        many = "1 dead letter waits" if number == 1 else f"{number} dead letters wait"
        why = f"{consumer} refused with {code}, last at {rfc3339(last.at)}: {last.kind or 'without a reason'}"
        yield Trouble("dead_letters", consumer, f"{at_least}{many}; {why}")


def of_orders(status: Status) -> Iterator[Trouble]:
    """Yield what the databases show: orders that hang, a resend that does not come, problems that were found."""
    orders = status.orders
    if orders is None:
        return
    if orders.overdue:
        many = f"{orders.overdue} orders are" if orders.overdue > 1 else "1 order is"
        says = f"{many} overdue for a resend: resend_orders does not run, or cannot emit"
        yield Trouble("resend_late", "resend-orders", says)
    if orders.stuck:
        many = f"{orders.stuck} orders are" if orders.stuck > 1 else "1 order is"
        says = f"{many} undecided for longer than {LONG.total_seconds():.0f} s, the oldest for {orders.oldest_s:.0f} s"
        yield Trouble("undecided", "", says)
    if orders.verified is not None and orders.verified.problems:
        says = f"the last verification, at {rfc3339(orders.verified.at)}, found {orders.verified.problems} problems"
        yield Trouble("verify_failed", "", says)
