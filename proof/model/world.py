"""All that can happen next: any request, any delivery, any function between two of its steps, any crash, any restore.

How the states are kept few, and why nothing is lost by it:

- The network is the set of all events ever emitted. Delivery takes nothing out, so every event can come again, at any
  time and in any order; one that is never delivered is a dropped one.
- A function emits right after its write, or crashes between the two. An emission that is slow is an event that is
  delivered late, so it needs no state of its own, except to wait until its write is durable (`Waiting`).
- An HTTP request needs no state: any request that a client may ever have sent can arrive in every state, which
  is what repeated and late requests do. Of GetBasket only its write is a step: what it read before, "the highest
  basket is paid", stays true, so a late write is one that comes now and finds the basket there.
- Clocks are absent: an order may be due for resend at any time. The claim only moves `resend_at`, so a claim whose
  owner crashed is a tick that did nothing.
- notify_handler keeps the first content delivered of each id, and no function reads what it keeps. So its
  collection can hold just what was emitted, in any selection, and promises about notifications are promises about
  emitted events. A restore puts back what was emitted until the backup (`World.recorded`).
- Deposit keys are interchangeable names: the n-th key in use is key n.
- The order in which functions between two steps are listed means nothing: they are kept sorted.
- A restore ends every function that is between two steps: nothing of before may write after it. All it needs to know of
  the lost time is what stays deliverable for ever after, the events. Whatever compares epochs refuses them before it
  does anything, and the new epoch is above each one there ever was; so where every consumer compares, they are left out
  of the states that follow. `Bounds.lost` keeps them in, to see that it makes no difference.
- A backup that no later restore can use is forgotten, and of the others only what will be restored is remembered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Literal, NamedTuple, TypeVar

from proof.model.protocol import (
    Answer,
    Array,
    Basket,
    Billing,
    Decision,
    Deposit,
    Move,
    Mutation,
    Name,
    Payment,
    Refusal,
    User,
    create_user,
    credit,
    decide,
    deposit,
    find,
    lacks_entries,
    order,
    recall,
    settle,
    stored_decisions,
)

NOTHING_REFUSED = "no event of our own is refused"
TRUE_ANSWER = "an answer is true"
ONE_INTENTION = "one intention, one attempt"
CHARGED_AS_ORDERED = "nothing is charged but what orders has as ordered, at this attempt and for this sum"

FORGED = 9
"""The attempt of forged events, and their sum at most: far beyond any attempt, and any balance."""

_HEARS_THE_PAST = (
    Mutation.BILLING_HEARS_THE_PAST,
    Mutation.ORDERS_HEARS_THE_PAST,
    Mutation.NOTIFY_HEARS_THE_PAST,
    Mutation.EPOCH_NOT_RAISED,
    Mutation.EPOCH_BY_COUNTING,
)

Event = TypeVar("Event", Payment, Decision)

Restored = Literal["all", "orders", "billing", "notify", "archives", "accounts"]


@dataclass(frozen=True)
class Bounds:
    """How far a history may go; what is not bounded here (repeats, losses, lateness) has no bound."""

    baskets: int = 1
    attempts: int = 1
    """Attempts per basket."""
    deposits: int = 0
    """Deposits, each with its own key."""
    sums: int = 1
    """An order, or a deposit, may be of 1, .. up to this."""
    opening: int = 0
    """The sum of a deposit made before the history starts; 0 when there is no user yet."""
    in_flight: int = 0
    """Functions that may be between two of their steps at the same time."""
    array_limits: tuple[int, ...] = ()
    """Lengths from which the older half of an array moves to its archive; several when processes differ (a rollout)."""
    batch: int = 0
    """Statements that may share one read in group commit; 0 when there is none."""
    rollback: bool = False
    """Whether a write becomes durable later than it is seen, and may be rolled back until then.

    Not together with array limits, batches or restores: archiving, and the read of a batch, come after a durable write,
    and a backup is of what is durable.
    """
    numbers: tuple[int, ...] = ()
    """Billing by itself: baskets of these numbers are ordered, each for 1, and their events are there from the start.

    Numbers that come out of order are late ones, the same number twice is what orders gives when it was restored, and
    one far above the others is what an event claims that was forged.
    """
    forged: int = 0
    """Whether the topic holds events of basket 1 that nobody ordered, each at an attempt far beyond any, and for how
    many sums: 1, and one that no balance pays."""
    restored: tuple[Restored, ...] = ()
    """The restores that may happen, one after the other, and what each restores, as of any one earlier moment.

    All three databases; one of them alone; or the two archives of billing without its accounts, or the accounts without
    the archives, as a dump of billing has them that is not of one moment.
    """
    repair: bool = False
    """Whether somebody may run `orders verify --repair`: it sends again what billing has stored as decided."""
    lost: bool = False
    """Whether events from before a restore are kept, to be delivered, where no consumer would look at them."""


class Archiving(NamedTuple):
    """A function about to insert entries in their archive, or, `halfway`, to pull them from their array."""

    move: Move
    halfway: bool = False

    def __str__(self) -> str:
        return f"{'second' if self.halfway else 'first'} step of archiving {self.move}"


class Credit(NamedTuple):
    """deposit_cash about to try its update again, on the condition of the count it has seen."""

    asked: Deposit
    seen: int

    def __str__(self) -> str:
        return f"next try of the deposit of {self.asked}"


class Decide(NamedTuple):
    """billing_handler about to try its update again, on the condition of the count it has seen."""

    asked: Payment
    seen: int

    def __str__(self) -> str:
        return f"next try to decide {self.asked}"


class Batch(NamedTuple):
    """billing_handler before the read that these statements, already written, share."""

    written: tuple[Payment, ...]

    def __str__(self) -> str:
        return f"read after writing {', '.join(map(str, self.written))}"


class Remember(NamedTuple):
    """billing_handler between its two updates (CHARGE_BEFORE_REMEMBER only)."""

    asked: Payment

    def __str__(self) -> str:
        return f"second update for {self.asked}"


class Waiting(NamedTuple):
    """A function that emits this event as soon as what it saw or wrote is durable."""

    event: Payment | Decision

    def __str__(self) -> str:
        return f"emission of {self.event}"


Work = Archiving | Credit | Decide | Batch | Remember | Waiting


class Durable(NamedTuple):
    """What a majority of each database's nodes has: a rollback returns to it."""

    baskets: tuple[Basket, ...] = ()
    billing: Billing = Billing()


class Backup(NamedTuple):
    """The databases as of one moment."""

    baskets: tuple[Basket, ...]
    billing: Billing
    recorded: tuple[Decision, ...]
    epoch: int


class World(NamedTuple):
    """One state: the databases of orders and billing, the network, and the functions between two of their steps."""

    baskets: tuple[Basket, ...] = ()
    billing: Billing = Billing()
    requested: tuple[Payment, ...] = ()
    decided: tuple[Decision, ...] = ()
    in_flight: tuple[Work, ...] = ()
    durable: Durable | None = None
    """None when every write is durable at once."""
    recorded: tuple[Decision, ...] = ()
    """What notify may hold, beside what was emitted in this epoch."""
    epoch: int = 0
    restores: int = 0
    backups: tuple[Backup, ...] = ()

    def of_now(self, events: tuple[Event, ...]) -> list[Event]:
        """Return the events of this epoch that are ours."""
        return [event for event in events if event.epoch == self.epoch and event.attempt != FORGED]

    def notifications(self) -> set[Decision]:
        """Return what may be recorded, whatever its epoch was."""
        return {*self.recorded, *(each._replace(epoch=0) for each in self.decided if each.epoch == self.epoch)}


class Step(NamedTuple):
    """One thing that happens: its name, the state after it, and the promise that it breaks by itself, if any."""

    what: tuple[object, ...]
    world: World
    broken: str | None = None

    def __str__(self) -> str:
        return " ".join(map(str, self.what))


class Model:
    """The shop within bounds, with one rule left out if a mutation says so."""

    def __init__(self, bounds: Bounds, mutation: Mutation | None = None) -> None:
        self.bounds = bounds
        self.mutation = mutation
        self.sums = range(1, bounds.sums + 1)
        # Only a restore of notify itself makes a difference between what it holds and what was emitted.
        self.records = set(bounds.restored) <= {"all", "notify"}
        self.forgets_the_past = not bounds.lost and mutation not in _HEARS_THE_PAST

    def start(self) -> World:
        """Return the state before the first step."""
        billing = Billing()
        if self.bounds.opening:
            first = Deposit(0, self.bounds.opening)
            billing = Billing(User(first.sum, deposits=(first,)), credits=(first,))
        durable = Durable(billing=billing) if self.bounds.rollback else None
        requested = [Payment(Name(1), FORGED, sum_) for sum_ in (1, FORGED)[: self.bounds.forged]]
        baskets: list[Basket] = []
        for index, number in enumerate(self.bounds.numbers):
            baskets.append(Basket(Name(number, self.bounds.numbers[:index].count(number)), "ordered", 1, 1))
            requested.append(Payment(baskets[-1].name, 1, 1))
        return World(tuple(baskets), billing, tuple(sorted(requested)), durable=durable)

    def steps(self, world: World) -> Iterator[Step]:
        """Yield every step that can be taken in a state, except some that change nothing and break nothing."""
        if not self.bounds.numbers:
            yield from self._get_basket(world)
            yield from self._post_order(world)
            yield from self._order_handler(world)
            yield from self._resend_orders(world)
        yield from self._create_user(world)
        yield from self._deposit_cash(world)
        yield from self._billing_handler(world)
        yield from self._between_steps(world)
        yield from self._majority(world)
        yield from self._restore(world)
        if self.bounds.repair:
            yield from self._repair(world)
        if self.mutation is Mutation.NOTIFY_HEARS_THE_PAST:
            yield from self._notify_handler(world)

    def stuck(self, world: World) -> Iterator[tuple[Basket, Refusal | None]]:
        """Yield each basket that stays ordered when faults stop, and how it is refused; None: nobody is told.

        Everything that was on its way is lost, and what is there becomes durable; resend runs once, and its events are
        delivered once and handled to the end. Anything not lost after all is one more step of some other history, at
        whose end the same is asked again.
        """
        billing = world.billing
        for basket in world.baskets:
            if basket.status != "ordered":
                continue
            asked = self._payment(world, basket)
            if self.mutation is Mutation.NO_RESEND:
                yield basket, None
            elif asked.epoch != world.epoch:
                yield basket, Refusal.CONTRADICTION
            else:
                says, billing = decide(billing, asked, 0, self.mutation)
                if says is Refusal.LOOK_AGAIN:
                    says, billing = decide(billing, asked, billing.user.archived.paid_baskets.entries, self.mutation)
                settled = settle(basket, says, self.mutation) if isinstance(says, Decision) else says
                if not isinstance(settled, Basket) or settled.status == "ordered":
                    yield basket, settled if isinstance(settled, Refusal) else None

    # HTTP: any request, at any time.

    def _get_basket(self, world: World) -> Iterator[Step]:
        """Make basket n + 1 when n, the highest that a majority has, is paid, or when there is none."""
        read = world.durable.baskets if world.durable else world.baskets
        next_is_due = not read or read[-1].status == "paid" or self.mutation is Mutation.NEXT_BASKET_EARLY
        if next_is_due and len(world.baskets) == len(read) < self.bounds.baskets:
            name = Name(len(read) + 1, world.restores)
            yield Step(("GetBasket makes basket", name), world._replace(baskets=(*world.baskets, Basket(name))))

    def _post_order(self, world: World) -> Iterator[Step]:
        """Order any basket that a client may know of, for any sum and attempt, or with no attempt sent."""
        known = world.baskets[: len(world.durable.baskets)] if world.durable else world.baskets
        every_attempt = (*range(1, self.bounds.attempts + 1), None)
        for before, meant, sum_ in product(known, every_attempt, self.sums):
            answer, after = order(before, None if self.mutation is Mutation.POST_WITHOUT_ATTEMPT else meant, sum_)
            if after.attempt > self.bounds.attempts:
                continue
            broken = None if _is_true(answer, world, before.name) else TRUE_ANSWER
            if after is before and answer.says != "ordered" and not broken:
                continue
            ordered = world
            if after is not before:
                ordered = world._replace(baskets=_put(world.baskets, after))
                # No client means a later attempt than GetBasket told, so only an earlier one can be mistaken.
                broken = ONE_INTENTION if meant and meant < after.attempt else broken
            what = ("POST /Order: basket", before.name, "attempt", meant or "not sent,", "sum", sum_, "is", answer)
            if answer.says == "ordered":
                yield Step((*what, "but not emitted"), ordered, broken)
                yield Step((*what, "and emitted"), self._emit(ordered, self._payment(ordered, after)), broken)
            else:
                yield Step(what, ordered, broken)

    def _create_user(self, world: World) -> Iterator[Step]:
        user = create_user(world.billing.user, self.mutation)
        if user is not world.billing.user:
            yield Step(("CreateUser",), world._replace(billing=world.billing._replace(user=user)))

    def _deposit_cash(self, world: World) -> Iterator[Step]:
        """Deposit any sum under any key in use, or under the next one."""
        if not self.bounds.deposits:
            return
        in_use = max((credit.key for credit in world.billing.credits), default=0)
        for key in range(1, min(in_use + 1, self.bounds.deposits) + 1):
            for sum_ in self.sums:
                # The count that a first try supposes is 0.
                yield from self._deposit(("DepositCash of",), world, Credit(Deposit(key, sum_), seen=0))
        fresh = 1 + max((work.asked.key for work in world.in_flight if isinstance(work, Credit)), default=in_use)
        if in_use < fresh <= self.bounds.deposits and world.billing.user.balance is not None:
            for sum_ in self.sums:
                # Without a key it rests on no archive: nothing can be there under an id that was made just now.
                credited = credit(world.billing, Deposit(fresh, sum_))
                what = ("DepositCash without a key of", Deposit(fresh, sum_), "is told credited")
                yield from self._archive(what, world._replace(billing=credited), "deposits")

    def _deposit(self, what: tuple[object, ...], world: World, tried: Credit) -> Iterator[Step]:
        says, billing = deposit(world.billing, *tried, self.mutation)
        what = (*what, tried.asked, "is told", says)
        if says is Refusal.LOOK_AGAIN:
            yield Step(what, self._begin(world, Credit(tried.asked, billing.user.archived.deposits.entries)))
        elif says == "credited":
            yield from self._archive(what, world._replace(billing=billing), "deposits")
        elif says in ("replayed", "contradiction") and (says == "replayed") != (tried.asked in billing.credits):
            yield Step(what, world, TRUE_ANSWER)

    # Events, and the timer.

    def _billing_handler(self, world: World) -> Iterator[Step]:
        """Decide any event ever emitted that is of this epoch, by itself or as the first statement of a batch."""
        for asked in world.requested:
            if asked.epoch != world.epoch and self.mutation is not Mutation.BILLING_HEARS_THE_PAST:
                continue
            says, written, broken = self._decide(world, asked, 0)
            yield from self._tell(written, asked, says, broken)
            if self.bounds.batch:
                yield Step(("billing_handler writes", asked), self._begin(written, Batch((asked,))), broken)

    def _decide(self, world: World, asked: Payment, seen: int) -> tuple[Decision | Refusal | None, World, str | None]:
        """Run the update of a decision; return what billing says then, the state after it, and what it breaks."""
        says, billing = decide(world.billing, asked, seen, self.mutation)
        if billing is world.billing:
            return says, world, None
        charged = billing.decisions[-1].outcome == "paid" and billing.user.balance != world.billing.user.balance
        basket = find(world.baskets, asked.basket) if charged else None
        is_ordered = basket and basket[1:4] == ("ordered", *asked[1:3])
        broken = CHARGED_AS_ORDERED if charged and not is_ordered else None
        return says, world._replace(billing=billing), broken

    def _tell(
        self, world: World, asked: Payment, outcome: Decision | Refusal | None, broken: str | None = None
    ) -> Iterator[Step]:
        """Emit the outcome, then archive; or crash after the write, or after the emission; or look in the archive."""
        if outcome is None:
            yield Step(("billing_handler subtracts for", asked), self._begin(world, Remember(asked)), broken)
        elif isinstance(outcome, Decision):
            yield Step(("billing_handler writes, but does not emit,", outcome), world, broken)
            at_once = self.mutation is Mutation.DECISION_WITHOUT_MAJORITY
            told = self._emit(world, outcome._replace(epoch=self._epoch(world)), at_once)
            yield from self._archive(("billing_handler emits", outcome), told, "paid_baskets", broken)
        elif outcome is Refusal.LOOK_AGAIN:
            count = world.billing.user.archived.paid_baskets.entries
            what = ("billing_handler does not find", asked.basket, "in the archive")
            yield Step(what, self._begin(world, Decide(asked, count)), broken)
        elif outcome is Refusal.CONTRADICTION and asked.attempt != FORGED:
            yield Step(("billing_handler refuses", asked), world, NOTHING_REFUSED)

    def _order_handler(self, world: World) -> Iterator[Step]:
        """Settle any decision ever emitted that is of this epoch."""
        for decision in world.decided:
            if decision.epoch != world.epoch and self.mutation is not Mutation.ORDERS_HEARS_THE_PAST:
                continue
            before = find(world.baskets, decision.basket)
            after = settle(before, decision, self.mutation) if before else Refusal.CONTRADICTION
            if after is Refusal.CONTRADICTION:
                yield Step(("order_handler refuses", decision), world, NOTHING_REFUSED)
            elif isinstance(after, Basket) and after != before:
                settled = world._replace(baskets=_put(world.baskets, after))
                yield Step(("order_handler settles", decision), settled)

    def _notify_handler(self, world: World) -> Iterator[Step]:
        """Record any decision of the past (NOTIFY_HEARS_THE_PAST only)."""
        for decision in world.decided:
            recorded = tuple(sorted({*world.recorded, decision._replace(epoch=0)}))
            if decision.epoch != world.epoch:
                yield Step(("notify_handler records", decision), world._replace(recorded=recorded))

    def _resend_orders(self, world: World) -> Iterator[Step]:
        """Emit any order again that is not settled."""
        for basket in world.baskets:
            if basket.status == "ordered" and self.mutation is not Mutation.NO_RESEND:
                stored = self._payment(world, basket)
                at_once = self.mutation is Mutation.RESEND_WITHOUT_MAJORITY
                yield Step(("resend_orders emits", stored), self._emit(world, stored, at_once))

    def _repair(self, world: World) -> Iterator[Step]:
        """Send any decision again that billing has stored; what is ordered is asked for again as by resend."""
        for decision in stored_decisions(world.billing):
            told = decision._replace(epoch=self._epoch(world))
            yield Step(("repair emits", told), self._emit(world, told))
        if self.mutation is Mutation.REPAIR_ASKS_AGAIN:
            for basket in world.baskets:
                asked = self._payment(world, basket)
                if basket.attempt and recall(world.billing, asked) is None:
                    yield Step(("repair emits", asked), self._emit(world, asked))

    # Functions between two steps, and crashes there.

    def _begin(self, world: World, work: Work) -> World:
        """Leave a function between two steps; where there is no room for one more, it crashed before the second."""
        if len(world.in_flight) == self.bounds.in_flight:
            return world
        # Any order will do that is the same for the same functions.
        return world._replace(in_flight=tuple(sorted((*world.in_flight, work), key=hash)))

    def _archive(
        self, what: tuple[object, ...], world: World, array: Array, broken: str | None = None
    ) -> Iterator[Step]:
        yield Step(what, world, broken)
        for limit in self.bounds.array_limits:
            if move := Move.due(world.billing.user, array, limit):
                yield Step((*what, "and has to archive"), self._begin(world, Archiving(move)), broken)

    def _between_steps(self, world: World) -> Iterator[Step]:
        """Take the next step of any function that is between two, or let it crash there."""
        for index, work in enumerate(world.in_flight):
            if index and work == world.in_flight[index - 1]:
                continue
            rest = world._replace(in_flight=world.in_flight[:index] + world.in_flight[index + 1 :])
            yield Step(("a crash prevents the", work), rest)
            match work:
                case Archiving(move, halfway):
                    # Another move would hide what is missing: its entries are the latest then.
                    incomplete = lacks_entries(rest.billing, move.array)
                    if incomplete and not halfway and self.mutation is not Mutation.MOVE_INTO_INCOMPLETE:
                        continue
                    pulls = halfway is not (self.mutation is Mutation.PULL_BEFORE_INSERT)
                    billing = move.pull(rest.billing, self.mutation) if pulls else move.insert(rest.billing)
                    moved = rest._replace(billing=billing)
                    what = ("archiving pulls" if pulls else "archiving inserts", move)
                    yield Step(what, moved if halfway else self._begin(moved, Archiving(move, halfway=True)))
                case Credit():
                    yield from self._deposit(("next try of the deposit of",), rest, work)
                case Decide(asked, seen):
                    says, written, broken = self._decide(rest, asked, seen)
                    yield from self._tell(written, asked, says, broken)
                case Batch(written_before):
                    yield from self._batch(rest, written_before)
                case Remember(asked):
                    user = rest.billing.user
                    user = user._replace(paid_baskets=(*user.paid_baskets, asked))
                    remembered = rest._replace(billing=rest.billing._replace(user=user))
                    yield from self._tell(remembered, asked, Decision(*asked[:3], "paid", asked.epoch))

    def _batch(self, world: World, written: tuple[Payment, ...]) -> Iterator[Step]:
        """Write one more statement, or read once for all: what is there decides, what is not there is unknown (503)."""
        if len(written) < self.bounds.batch:
            for asked in world.requested:
                if asked not in written:
                    more = Batch(tuple(sorted((*written, asked))))
                    _, after, broken = self._decide(world, asked, 0)
                    yield Step(("billing_handler writes, too,", asked), self._begin(after, more), broken)
        emitted = world
        for asked in written:
            outcome = recall(world.billing, asked, 0, self.mutation)
            if self.mutation is Mutation.OUTCOME_BY_ABSENCE:
                is_paid = asked in world.billing.user.paid_baskets
                outcome = Decision(*asked[:3], "paid" if is_paid else "insufficient funds")
            if outcome is Refusal.CONTRADICTION:
                yield Step(("billing_handler refuses", asked), world, NOTHING_REFUSED)
            elif isinstance(outcome, Decision):
                emitted = self._emit(emitted, outcome)
        yield from self._archive(("billing_handler reads for", *written, "and emits"), emitted, "paid_baskets")

    # The network, and what a majority has.

    def _epoch(self, world: World) -> int:
        """Return the epoch that events are emitted with."""
        return 0 if self.mutation is Mutation.EPOCH_NOT_EMITTED else world.epoch

    def _payment(self, world: World, basket: Basket) -> Payment:
        """Build the event of an ordered basket."""
        return Payment(basket.name, basket.attempt, basket.sum, self._epoch(world))

    def _emit(self, world: World, event: Payment | Decision, at_once: bool = False) -> World:
        """Add an event to all those ever emitted, or leave it to wait until what it tells is durable."""
        database = _database(type(event))
        if world.durable and not at_once and getattr(world, database) != getattr(world.durable, database):
            return self._begin(world, Waiting(event))
        if self.bounds.numbers:  # billing by itself: nobody hears it
            return world
        if isinstance(event, Payment):
            if event in world.requested:
                return world
            return world._replace(requested=tuple(sorted((*world.requested, event))))
        if event in world.decided:
            return world
        return world._replace(decided=tuple(sorted((*world.decided, event))))

    def _majority(self, world: World) -> Iterator[Step]:
        """Make a database's writes durable, whereupon what waited for it is emitted; or roll them back."""
        if world.durable is None:
            return
        for event in (Payment, Decision):
            database = _database(event)
            written, kept = getattr(world, database), getattr(world.durable, database)
            if written == kept:
                continue
            waiting = [work for work in world.in_flight if isinstance(work, Waiting) and type(work.event) is event]
            others = world._replace(in_flight=tuple(work for work in world.in_flight if work not in waiting))
            safe = others._replace(durable=world.durable._replace(**{database: written}))
            for work in waiting:
                safe = self._emit(safe, work.event)
            yield Step(("a majority has", database, *(f"with the {work}" for work in waiting)), safe)
            yield Step(("a primary goes, and with it the last of", database), others._replace(**{database: kept}))

    # Backups and restores.

    def _restore(self, world: World) -> Iterator[Step]:
        """Take a backup, as many as restores can use; or restore one of those there are, and raise the epoch."""
        to_come = self.bounds.restored[world.restores :]
        if not to_come:
            return
        if len(world.backups) < len(to_come):
            backup = self._backup(world, to_come)
            if backup not in world.backups:
                yield Step(("a backup is taken",), world._replace(backups=(*world.backups, backup)))
        for backup in world.backups:
            restored = self._restored(world, to_come[0], backup)
            others = len(to_come) - 1
            for left in (left for size in range(others + 1) for left in combinations(world.backups, size)):
                what = (f"{to_come[0]} restored: backup", world.backups.index(backup) + 1)
                yield Step((*what, "of", len(world.backups)), restored._replace(backups=left))

    def _backup(self, world: World, to_come: tuple[Restored, ...]) -> Backup:
        """Remember the databases, as far as they will be restored."""
        whole = "all" in to_come
        billing = Billing()
        if whole or "billing" in to_come or "accounts" in to_come:
            billing = world.billing
        elif "archives" in to_come:
            billing = Billing(paid_baskets=world.billing.paid_baskets, deposits=world.billing.deposits)
        return Backup(
            world.baskets if whole or "orders" in to_come else (),
            billing,
            tuple(sorted(world.notifications())) if self.records else (),
            world.epoch if self.mutation is Mutation.EPOCH_BY_COUNTING else 0,
        )

    def _restored(self, world: World, what: Restored, backup: Backup) -> World:
        """Put back what is restored. Functions are stopped meanwhile, and a new epoch is begun."""
        found = world.epoch
        restored = world._replace(restores=world.restores + 1)
        if what in ("all", "orders"):
            restored = restored._replace(baskets=backup.baskets)
        if what in ("all", "billing"):
            restored = restored._replace(billing=backup.billing)
        if what == "accounts":
            accounts = backup.billing._replace(paid_baskets=world.billing.paid_baskets, deposits=world.billing.deposits)
            restored = restored._replace(billing=accounts)
        if what == "archives":
            archives: dict[str, Any] = {
                "paid_baskets": backup.billing.paid_baskets,
                "deposits": backup.billing.deposits,
            }
            restored = restored._replace(billing=world.billing._replace(**archives))
        if self.records:
            recorded = backup.recorded if what in ("all", "notify") else tuple(sorted(world.notifications()))
            restored = restored._replace(recorded=recorded)
        if self.mutation is not Mutation.OLD_PROCESS_WRITES:
            restored = restored._replace(in_flight=())
        if what == "all" and self.mutation is Mutation.EPOCH_BY_COUNTING:
            found = backup.epoch
        if self.mutation is not Mutation.EPOCH_NOT_RAISED:
            restored = restored._replace(epoch=found + 1)
        if self.forgets_the_past:
            restored = restored._replace(requested=(), decided=())
        return restored


def _database(event: type[Payment] | type[Decision]) -> str:
    """Name the database that an event is built from."""
    return "baskets" if event is Payment else "billing"


def _put(baskets: tuple[Basket, ...], changed: Basket) -> tuple[Basket, ...]:
    return tuple(changed if basket.name == changed.name else basket for basket in baskets)


def _is_true(answer: Answer, world: World, name: Name) -> bool:
    """Compare an answer with what was decided."""
    if answer.says not in ("paid", "declined"):
        return True
    decided = [made.outcome for made in world.billing.decisions if made[:2] == (name, answer.attempt)]
    if answer.says == "paid":
        return decided == ["paid"]
    return len(decided) == 1 and decided != ["paid"]
