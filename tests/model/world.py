"""All that can happen next: any request, any delivery, any function between two of its steps, any crash.

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
  emitted events.
- Deposit keys are interchangeable names: the n-th key in use is key n.
- The order in which functions between two steps are listed means nothing: they are kept sorted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from tests.model.protocol import (
    Answer,
    Basket,
    Billing,
    Decision,
    Deposit,
    MoveDeposits,
    MovePaid,
    Mutation,
    Payment,
    Refusal,
    User,
    create_user,
    decide,
    deposit,
    order,
    recall,
    settle,
)

NOTHING_REFUSED = "no event of our own is refused"
TRUE_ANSWER = "an answer is true"
ONE_INTENTION = "one intention, one attempt"


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

    Not together with array limits or batches: archiving, and the read of a batch, come after a durable write.
    """


class Archiving(NamedTuple):
    """A function about to insert entries in their archive, or, `halfway`, to pull them from their array."""

    move: MovePaid | MoveDeposits
    halfway: bool = False

    def __str__(self) -> str:
        return f"{'second' if self.halfway else 'first'} step of archiving {self.move}"


class Credit(NamedTuple):
    """deposit_cash about to try its update again, on the condition of the count it has seen."""

    asked: Deposit
    seen: int

    def __str__(self) -> str:
        return f"next try of the deposit of {self.asked}"


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


Work = Archiving | Credit | Batch | Remember | Waiting


class Durable(NamedTuple):
    """What a majority of each database's nodes has: a rollback returns to it."""

    baskets: tuple[Basket, ...] = ()
    billing: Billing = Billing()


class World(NamedTuple):
    """One state: the databases of orders and billing, the network, and the functions between two of their steps."""

    baskets: tuple[Basket, ...] = ()
    billing: Billing = Billing()
    requested: tuple[Payment, ...] = ()
    decided: tuple[Decision, ...] = ()
    in_flight: tuple[Work, ...] = ()
    durable: Durable | None = None
    """None when every write is durable at once."""


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

    def start(self) -> World:
        """Return the state before the first step."""
        billing = Billing()
        if self.bounds.opening:
            first = Deposit(0, self.bounds.opening)
            billing = Billing(User(first.sum, deposits=(first,)), credits=(first,))
        return World(billing=billing, durable=Durable(billing=billing) if self.bounds.rollback else None)

    def steps(self, world: World) -> Iterator[Step]:
        """Yield every step that can be taken in a state, except some that change nothing and break nothing."""
        yield from self._get_basket(world)
        yield from self._post_order(world)
        yield from self._create_user(world)
        yield from self._deposit_cash(world)
        yield from self._billing_handler(world)
        yield from self._order_handler(world)
        yield from self._resend_orders(world)
        yield from self._between_steps(world)
        yield from self._majority(world)

    def without_faults(self, world: World) -> World:
        """Return where a state leads when faults stop, after everything that was on its way is lost.

        What is there becomes durable, resend runs once, and its events are delivered once and handled to the end.
        Anything not lost after all is one more step of some other history, at whose end the same is asked again.
        """
        baskets, billing = list(world.baskets), world.billing
        for index, basket in enumerate(baskets):
            if basket.status == "ordered" and self.mutation is not Mutation.NO_RESEND:
                asked = Payment(index + 1, basket.attempt, basket.sum)
                billing = decide(billing, asked, self.mutation)
                decision = recall(billing, asked, self.mutation)
                settled = settle(basket, decision, self.mutation) if isinstance(decision, Decision) else basket
                baskets[index] = basket if isinstance(settled, Refusal) else settled
        return World(tuple(baskets), billing)

    # HTTP: any request, at any time.

    def _get_basket(self, world: World) -> Iterator[Step]:
        """Make basket n + 1 when n, the highest that a majority has, is paid, or when there is none."""
        read = world.durable.baskets if world.durable else world.baskets
        next_is_due = not read or read[-1].status == "paid" or self.mutation is Mutation.NEXT_BASKET_EARLY
        if next_is_due and len(world.baskets) == len(read) < self.bounds.baskets:
            yield Step(("GetBasket makes basket", len(read) + 1), world._replace(baskets=(*world.baskets, Basket())))

    def _post_order(self, world: World) -> Iterator[Step]:
        """Order any basket that a client may know of, for any sum and attempt, or with no attempt sent."""
        known = world.baskets[: len(world.durable.baskets)] if world.durable else world.baskets
        every_attempt = (*range(1, self.bounds.attempts + 1), None)
        for (number, before), meant, sum_ in product(enumerate(known, 1), every_attempt, self.sums):
            answer, after = order(before, None if self.mutation is Mutation.POST_WITHOUT_ATTEMPT else meant, sum_)
            if after.attempt > self.bounds.attempts:
                continue
            ordered, broken = world, None if _is_true(answer, world, number) else TRUE_ANSWER
            if after is not before:
                ordered = world._replace(baskets=_put(world.baskets, number, after))
                # No client means a later attempt than GetBasket told, so only an earlier one can be mistaken.
                broken = ONE_INTENTION if meant and meant < after.attempt else broken
            what = ("POST /Order: basket", number, "attempt", meant or "not sent,", "sum", sum_, "is", answer)
            if answer.says == "ordered":
                stored = Payment(number, after.attempt, after.sum)
                yield Step((*what, "but not emitted"), ordered, broken)
                yield Step((*what, "and emitted"), self._emit(ordered, stored), broken)
            else:
                yield Step(what, ordered, broken)

    def _create_user(self, world: World) -> Iterator[Step]:
        user = create_user(world.billing.user, self.mutation)
        if user is not world.billing.user:
            yield Step(("CreateUser",), world._replace(billing=world.billing._replace(user=user)))

    def _deposit_cash(self, world: World) -> Iterator[Step]:
        """Deposit any sum under any key in use, or under the next one."""
        in_use = max((credit.key for credit in world.billing.credits), default=0)
        for key in range(1, min(in_use + 1, self.bounds.deposits) + 1):
            for sum_ in self.sums:
                # The count that a first try supposes is 0.
                yield from self._deposit(("DepositCash of",), world, Credit(Deposit(key, sum_), seen=0))

    def _deposit(self, what: tuple[object, ...], world: World, tried: Credit) -> Iterator[Step]:
        says, billing = deposit(world.billing, *tried, self.mutation)
        what = (*what, tried.asked, "is told", says)
        if says == "look again":
            yield Step(what, self._begin(world, Credit(tried.asked, billing.user.archived_deposits)))
        elif says == "credited":
            yield from self._archive(what, world._replace(billing=billing), MoveDeposits)
        elif says != "unknown user" and (says == "replayed") != (tried.asked in billing.credits):
            yield Step(what, world, TRUE_ANSWER)

    # Events, and the timer.

    def _billing_handler(self, world: World) -> Iterator[Step]:
        """Decide any event ever emitted, by itself or as the first statement of a batch."""
        for asked in world.requested:
            written = self._write(world, asked)
            yield from self._tell(written, asked, recall(written.billing, asked, self.mutation))
            if self.bounds.batch:
                yield Step(("billing_handler writes", asked), self._begin(written, Batch((asked,))))

    def _write(self, world: World, asked: Payment) -> World:
        billing = decide(world.billing, asked, self.mutation)
        return world if billing is world.billing else world._replace(billing=billing)

    def _tell(self, world: World, asked: Payment, outcome: Decision | Refusal | None) -> Iterator[Step]:
        """Emit the outcome, then archive; or crash after the write, or after the emission."""
        if outcome is None:
            yield Step(("billing_handler subtracts for", asked), self._begin(world, Remember(asked)))
        elif isinstance(outcome, Decision):
            yield Step(("billing_handler writes, but does not emit,", outcome), world)
            at_once = self.mutation is Mutation.DECISION_WITHOUT_MAJORITY
            yield from self._archive(("billing_handler emits", outcome), self._emit(world, outcome, at_once), MovePaid)
        elif outcome is Refusal.CONTRADICTION:
            yield Step(("billing_handler refuses", asked), world, NOTHING_REFUSED)

    def _order_handler(self, world: World) -> Iterator[Step]:
        """Settle any decision ever emitted."""
        for decision in world.decided:
            before = world.baskets[decision.number - 1] if decision.number <= len(world.baskets) else None
            after = settle(before, decision, self.mutation) if before else Refusal.CONTRADICTION
            if after is Refusal.CONTRADICTION:
                yield Step(("order_handler refuses", decision), world, NOTHING_REFUSED)
            elif isinstance(after, Basket) and after != before:
                settled = world._replace(baskets=_put(world.baskets, decision.number, after))
                yield Step(("order_handler settles", decision), settled)

    def _resend_orders(self, world: World) -> Iterator[Step]:
        """Emit any order again that is not settled."""
        for number, basket in enumerate(world.baskets, 1):
            if basket.status == "ordered" and self.mutation is not Mutation.NO_RESEND:
                stored = Payment(number, basket.attempt, basket.sum)
                at_once = self.mutation is Mutation.RESEND_WITHOUT_MAJORITY
                yield Step(("resend_orders emits", stored), self._emit(world, stored, at_once))

    # Functions between two steps, and crashes there.

    def _begin(self, world: World, work: Work) -> World:
        """Leave a function between two steps; where there is no room for one more, it crashed before the second."""
        if len(world.in_flight) == self.bounds.in_flight:
            return world
        return world._replace(in_flight=tuple(sorted((*world.in_flight, work), key=repr)))

    def _archive(
        self, what: tuple[object, ...], world: World, kind: type[MovePaid] | type[MoveDeposits]
    ) -> Iterator[Step]:
        yield Step(what, world)
        for limit in self.bounds.array_limits:
            if move := kind.due(world.billing.user, limit):
                yield Step((*what, "and has to archive"), self._begin(world, Archiving(move)))

    def _between_steps(self, world: World) -> Iterator[Step]:
        """Take the next step of any function that is between two, or let it crash there."""
        for index, work in enumerate(world.in_flight):
            rest = world._replace(in_flight=world.in_flight[:index] + world.in_flight[index + 1 :])
            yield Step(("a crash prevents the", work), rest)
            match work:
                case Archiving(move, halfway):
                    pulls = halfway is not (self.mutation is Mutation.PULL_BEFORE_INSERT)
                    billing = move.pull(rest.billing, self.mutation) if pulls else move.insert(rest.billing)
                    moved = rest._replace(billing=billing)
                    what = ("archiving pulls" if pulls else "archiving inserts", move)
                    yield Step(what, moved if halfway else self._begin(moved, Archiving(move, halfway=True)))
                case Credit():
                    yield from self._deposit(("next try of the deposit of",), rest, work)
                case Batch(written):
                    yield from self._batch(rest, written)
                case Remember(asked):
                    user = rest.billing.user
                    user = user._replace(paid_baskets=(*user.paid_baskets, asked))
                    remembered = rest._replace(billing=rest.billing._replace(user=user))
                    yield from self._tell(remembered, asked, Decision(*asked, "paid"))

    def _batch(self, world: World, written: tuple[Payment, ...]) -> Iterator[Step]:
        """Write one more statement, or read once for all: what is there decides, what is not there is unknown (503)."""
        if len(written) < self.bounds.batch:
            for asked in world.requested:
                if asked not in written:
                    more = Batch(tuple(sorted((*written, asked))))
                    yield Step(("billing_handler writes, too,", asked), self._begin(self._write(world, asked), more))
        emitted = world
        for asked in written:
            outcome = recall(world.billing, asked, self.mutation)
            if self.mutation is Mutation.OUTCOME_BY_ABSENCE:
                is_paid = asked in world.billing.user.paid_baskets
                outcome = Decision(*asked, "paid" if is_paid else "insufficient funds")
            if outcome is Refusal.CONTRADICTION:
                yield Step(("billing_handler refuses", asked), world, NOTHING_REFUSED)
            elif isinstance(outcome, Decision):
                emitted = self._emit(emitted, outcome)
        yield from self._archive(("billing_handler reads for", *written, "and emits"), emitted, MovePaid)

    # The network, and what a majority has.

    def _emit(self, world: World, event: Payment | Decision, at_once: bool = False) -> World:
        """Add an event to all those ever emitted, or leave it to wait until what it tells is durable."""
        database = _database(type(event))
        if world.durable and not at_once and getattr(world, database) != getattr(world.durable, database):
            return self._begin(world, Waiting(event))
        if isinstance(event, Payment):
            return world._replace(requested=tuple(sorted({*world.requested, event})))
        return world._replace(decided=tuple(sorted({*world.decided, event})))

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


def _database(event: type[Payment] | type[Decision]) -> str:
    """Name the database that an event is built from."""
    return "baskets" if event is Payment else "billing"


def _put(baskets: tuple[Basket, ...], number: int, basket: Basket) -> tuple[Basket, ...]:
    return (*baskets[: number - 1], basket, *baskets[number:])


def _is_true(answer: Answer, world: World, number: int) -> bool:
    """Compare an answer with what was decided."""
    decided = [decision.outcome for decision in world.billing.decisions if decision[:2] == (number, answer.attempt)]
    match answer.says:
        case "paid":
            return decided == ["paid"]
        case "declined":
            return len(decided) == 1 and decided != ["paid"]
    return True
