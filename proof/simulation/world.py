"""A whole shop in one process, under one scheduler: the same seed, the same history.

One thing happens at a time. What could happen next - an operation of a function, a delivery, a late command, a
call of a client, a tick - waits in a list, and the seed chooses. Nothing else does: no clock, no id made by MongoDB.
"""

import inspect
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from random import Random

from pymongo.errors import PyMongoError
from starlette.responses import Response

from proof.simulation.faults import TO_CALL, TO_DECISION, TO_REQUEST, Fault, Faults, Hit
from proof.simulation.invariants import check, check_apart, check_unchanged
from proof.simulation.observer import OF_SERVICE, Anomaly, Backup, Databases, Memory, Witness, holds, progress
from proof.simulation.processes import FIRST_EPOCH, Activity, Batches, Done, Fleet, Instance, Turns, following, request
from proof.simulation.workload import Call, Workload
from shop.process.settings import ArrayLimits
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from shop.store.readiness import Epoch
from tests.support.functions import consumers

_KINDS = {kind.DESCRIPTOR.full_name: kind for kind in (PaymentRequested, PaymentDecided)}

_ID = re.compile(r"[0-9a-f]{24}")

_TOLD = ("message", "attempt", "order_status", "balance")
"""What the history tells of an answer: nothing that differs between two runs of a seed, as times do."""

_LIMITS = (ArrayLimits(2, 1), ArrayLimits(2, 2), ArrayLimits(3, 1), ArrayLimits(4, 2))

_RETRIES = 3
"""Of a delivery, before KafkaSource gives the event to the dead letters."""

_MOST_STEPS = 5000
"""Of a run: ten times what the longest takes. Reaching it means that something repeats for ever."""

_RESTORED_AT = datetime(2026, 11, 26, tzinfo=UTC)

_APART = (*OF_SERVICE.values(), ("users",), *[OF_SERVICE["orders"], ("paid_baskets",), ("deposits",)] * 2)
"""What may be restored alone: a service's database, or a collection; more often what seldom shows."""

_MOST_TICKS = 10
"""Of resend once faults have stopped: one is enough, unless baskets do not settle."""


@dataclass(frozen=True)
class Record:
    """An event in its topic."""

    headers: Mapping[str, str]
    data: bytes
    event: PaymentRequested | PaymentDecided


@dataclass(eq=False)
class Delivery:
    """An event on its way to a consumer, and how often it was tried."""

    function: str
    record: Record
    tries: int = 0


@dataclass(frozen=True)
class _Restore:
    """When a backup is made, when it is restored, and how much of it."""

    backup: int
    at: int
    apart: tuple[str, ...] | None


@dataclass(eq=False)
class _Pending:
    """Something that may happen now, or at any later time."""

    happen: Callable[[], Awaitable[None]]
    activity: Activity | None = None
    held: Hit | None = None
    ended_before: int = 0
    to_database: bool = False
    """A late command: a restore is made into another database, which it does not reach."""


class World:
    """One run: the clients, the processes, Kafka and the faults of a seed."""

    def __init__(
        self, seed: int, prefix: str, fleet: Fleet, databases: Databases, faults: Faults, skipped: frozenset[int]
    ) -> None:
        self.faults = faults
        self.workload = Workload(seed, prefix)
        self.witness = Witness(self.workload.users)
        self.history: list[str] = []
        self.turns = Turns()
        self.most_in_hand = Counter[str]()
        """The most requests that the processes of a function had in hand at the same time."""
        self.largest_batch = 0
        """The most requests that shared one command."""
        self._random = Random(f"schedule {seed}")
        self._prefix = prefix
        self._fleet = fleet
        self._databases = databases
        self._skipped = skipped
        self._haste = self._random.choice((0.05, 0.15, 0.4))  # how likely the next thing to happen is a call
        self._holds = self._random.choice((0.02, 0.08, 0.2))
        self._releases = self._random.choice((0.01, 0.03, 0.1))
        for instances in fleet.values():
            for instance in instances:
                instance.begin(self._random.choice(_LIMITS), FIRST_EPOCH)
        self._restores = self._plan_restores()
        self._backups: dict[int, tuple[Backup, Memory]] = {}
        self._apart: tuple[Backup, Backup] | None = None
        """Of the latest restore, when anything was ever restored alone: what there was right before it, and after."""
        self._pending: list[_Pending] = []
        self._records: list[Record] = []
        self._dead_letters: list[Delivery] = []
        self._in_hand: Activity | None = None
        self._ended = 0
        self._steps = 0
        self._names: dict[str, str] = {}
        self._given: set[str] = set()

    def _plan_restores(self) -> list[_Restore]:
        """Choose, for some of the runs, one or two restores: of a backup made before, perhaps the same one again."""
        if not (self.faults.can_be(Fault.RESTORED) or self.faults.can_be(Fault.RESTORED_APART)):
            return []
        last = self.workload.actions
        if self._random.random() > 0.4:
            return []
        backup = self._random.randint(1, last)
        planned = [_Restore(backup, self._random.randint(backup, last), None)]
        if self._random.random() < 0.4:
            again = self._random.choice((backup, self._random.randint(planned[0].at, last)))
            planned.append(_Restore(again, self._random.randint(planned[0].at, last), None))
        if self.faults.can_be(Fault.RESTORED_APART) and self._random.random() < 0.6:
            which = self._random.randrange(len(planned))
            planned[which] = replace(planned[which], apart=self._random.choice(_APART))
        return planned

    # --- the run -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run all calls under faults, then let everything settle without any. Raises Anomaly."""
        replaced = self._random.randint(1, self.workload.actions)
        for action in range(1, self.workload.actions + 1):
            if action == replaced and self.faults.can_be(Fault.MONGOD_FROM_BEFORE):
                await self._databases.replace_primary(self.workload.users)
                self.faults.not_yet.discard(Fault.MONGOD_FROM_BEFORE)
            while self._pending and self._random.random() > self._haste:
                await self._step()
            await self._back_up_and_restore(action)
            call, is_tick = self.workload.next_call(), self._random.random() < 0.08
            if action in self._skipped:
                continue
            self.note(f"--- action {action}")
            await (self._tick() if is_tick else self._call(call))
        await self._settle()

    async def check(self) -> None:
        """Check the promises, once all has settled. Raises Anomaly."""
        holdings = await self._databases.holdings(self.workload.users)
        if self._apart is not None:
            check_apart(self.witness, holdings, *self._apart)
        else:
            check(self.witness, holdings)

    async def _back_up_and_restore(self, action: int) -> None:
        if any(planned.backup == action for planned in self._restores):
            self.note("--- backup")
            self._backups[action] = await self._databases.backup(self.workload.users), self.witness.remember()
        for planned in self._restores:
            if planned.at == action and planned.backup in self._backups:
                fault = Fault.RESTORED if planned.apart is None else Fault.RESTORED_APART
                hit = self.faults.decide((fault,), rate=1)
                if hit is not None:
                    hit.mattered = True
                    await self._restore(planned)

    async def _restore(self, planned: _Restore) -> None:
        """Follow docs/faults.md: end all functions, restore, begin an epoch, start them. Topics stay as they are."""
        backup, memory = self._backups[planned.backup]
        names = planned.apart or tuple(backup)
        self.note(f"--- {', '.join(names)} restored to the backup of action {planned.backup}")
        in_hand = [pending.activity for pending in self._pending if pending.activity is not None]
        in_hand += self._followers()
        self._pending = [each for each in self._pending if each.activity is None and not each.to_database]
        for activity in in_hand:
            await activity.crash()
        before = await self._databases.backup(self.workload.users)
        await self._databases.restore(self.workload.users, backup, names)
        await self._databases.replace_primary(self.workload.users)
        epoch = self.witness.epoch + self._random.randint(1, 3)
        for instances in self._fleet.values():
            for instance in instances:
                instance.begin(instance.limits, Epoch(epoch, _RESTORED_AT))
        self.witness.forget(memory, epoch)
        self.workload.repeats = 0.5
        if planned.apart is not None or self._apart is not None:
            self._apart = before, await self._databases.backup(self.workload.users)
        for activity in in_hand:
            await activity.done(None)

    async def _settle(self) -> None:
        """Stop the faults; let resend and redrive heal what they left."""
        while self._pending:
            await self._step()
        replayed = self.faults.decide((Fault.TOPICS_REPLAYED,), rate=0.4)
        self.faults.over = True
        self.note("--- faults stop")
        await self._heal()
        if replayed:
            replayed.mattered = bool(self._records)
            self.note("--- all events are delivered again")
            before = await self._databases.holdings(self.workload.users)
            for record in list(self._records):
                self._deliver_to_all(record)
            await self._heal()
            if self._apart is None:
                check_unchanged(before, await self._databases.holdings(self.workload.users))

    async def _heal(self) -> None:
        for _ in range(_MOST_TICKS):
            while self._pending:
                await self._step()
            if self._dead_letters:
                for letter in self._dead_letters:
                    self._will_deliver(letter.function, letter.record)
                self._dead_letters.clear()
            elif await self._databases.make_due(self.workload.users):
                await self._tick()
            else:
                return
        if self._apart is not None:
            return  # nothing heals that; `check_apart` sees that it was refused aloud
        raise Anomaly(f"a basket is still ordered, or an event refused, after {_MOST_TICKS} ticks without faults")

    async def _step(self) -> None:
        """Let one thing happen."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise Anomaly(f"there is no end to it: {_MOST_STEPS} steps")
        free = [pending for pending in self._pending if pending.held is None]
        candidates = free if free and self._random.random() > self._releases else self._pending
        chosen = self._random.choice(candidates)
        self._pending.remove(chosen)
        if chosen.held is not None:
            chosen.held.mattered = self._ended > chosen.ended_before
        await chosen.happen()
        self.witness.raise_anomaly()

    def _will(self, happen: Callable[[], Awaitable[None]], activity: Activity | None = None) -> None:
        # A batch that takes long is what others gather behind.
        holds = 4 * self._holds if isinstance(activity, Batches) else self._holds
        held = self.faults.decide((Fault.HELD,), rate=holds)
        self._pending.append(_Pending(happen, activity, held, self._ended))

    @property
    def was_restored_apart(self) -> bool:
        """Whether a database was restored alone: then a basket may stay ordered for ever."""
        return self._apart is not None

    def note(self, line: str) -> None:
        """Add a line to the history."""
        self.history.append(self.plain(line))

    def plain(self, text: str) -> str:
        """Return a text without what differs between two runs of a seed: ids, and the prefix of users."""
        return _ID.sub(lambda found: self._name(found[0]), text.replace(self._prefix, "user"))

    def _name(self, basket: str) -> str:
        return self._names.setdefault(basket, f"basket {len(self._names) + 1}")

    def longest_array(self, function: str) -> int:
        """Return how long an array may grow, without faults, before something is archived."""
        return max(instance.limits.limit for instance in self._fleet[function]) + self.most_in_hand[function]

    # --- processes ---------------------------------------------------------------------------------------------------

    async def _start(
        self, function: str, what: str, method: str, headers: Mapping[str, str], body: bytes, done: Done
    ) -> None:
        """Give a request to one of the function's processes."""
        instance = self._random.choice(self._fleet[function])
        of_it = [p.activity for p in self._pending if p.activity and p.activity.instance in self._fleet[function]]
        in_hand = sum(not isinstance(activity, Batches) for activity in of_it)
        in_hand += sum(len(following(each)) for each in self._fleet[function])
        self.most_in_hand[function] = max(self.most_in_hand[function], in_hand + 1)
        activity = Activity(instance, request(method, headers, body), self, what, done)
        self.note(f"{instance.name} takes {what}")
        self._in_hand = activity
        activity.start()
        await self._until_all_stopped()

    async def _until_all_stopped(self) -> None:
        """Wait until nobody runs any more, and see what those who stopped want next, or what they answered."""
        stopped = await self.turns.stopped()
        self._in_hand = None
        for activity in stopped:
            await self._stopped(activity)

    async def _stopped(self, activity: Activity) -> None:
        if isinstance(activity, Batches):
            self.largest_batch = max(self.largest_batch, activity.size)
        if not activity.ended:
            self._will(partial(self._proceed, activity), activity)
            return
        if activity.response is None:
            return  # the batches of a lane: nobody waits any more
        self._ended += 1
        status = activity.response.status_code
        for hit in activity.hits:
            hit.mattered |= status != 200
        self.note(f"{activity.instance.name} answers {status} to {activity.what}")
        if status in (400, 405, 413, 500):
            raise Anomaly(f"{activity.instance.name} answered {status}: {bytes(activity.response.body).decode()}")
        incomplete = self._apart is not None and b"is not complete" in bytes(activity.response.body)
        if status == 503 and not activity.hits and not incomplete:
            raise Anomaly(f"{activity.instance.name} answered 503 without a fault")
        await activity.done(activity.response)

    async def _proceed(self, activity: Activity) -> None:
        hit, instance = self.faults.decide(activity.wants.possible), activity.instance
        self.note(f"{instance.name}: {activity.wants.what}" + (f" !!! {hit.fault} (fault {hit.number})" if hit else ""))
        crashes = hit is not None and hit.fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
        if hit is None or hit.fault is not Fault.CRASH_BEFORE:
            self._in_hand = activity
            activity.proceed(hit)
            if crashes:
                await self.turns.stopped()  # only this one: it did nothing that another one waits for
        if hit is not None and crashes:
            hit.mattered = True
            await self._crash(instance, activity)
        else:
            await self._until_all_stopped()

    async def _crash(self, instance: Instance, current: Activity) -> None:
        """End everything that a process had in hand; it starts again at once."""
        self._in_hand = None
        dead = [current]
        dead += [p.activity for p in self._pending if p.activity is not None and p.activity.instance is instance]
        dead += following(instance)
        self._pending = [pending for pending in self._pending if pending.activity not in dead]
        for activity in dead:
            await activity.crash()
        instance.begin_again()
        for activity in dead:
            await activity.done(None)

    def _followers(self) -> list[Activity]:
        return [each for instances in self._fleet.values() for instance in instances for each in following(instance)]

    def stands(self) -> str:
        """Return what the run waits for, when it waits for ever."""
        return self._in_hand.stands() if self._in_hand else "nothing in hand"

    async def stop(self) -> None:
        """End what an anomaly, or Ctrl-C, left unfinished."""
        if self._in_hand is not None:
            await self._in_hand.crash()
        for pending in self._pending:
            if pending.activity is not None:
                await pending.activity.crash()
        for activity in self._followers():
            await activity.crash()

    def postpone(self, what: str, act: Callable[[], object], *, to_topic: bool = False) -> None:
        """Let something happen at any later time: a command or event that was on its way when its sender gave up."""

        async def happen() -> None:
            self.note(f"late: {what}")
            with suppress(PyMongoError):
                if inspect.isawaitable(result := act()):
                    await result

        self._will(happen)
        self._pending[-1].to_database = not to_topic

    # --- clients -----------------------------------------------------------------------------------------------------

    async def _call(self, call: Call) -> None:
        hit = self.faults.decide(TO_CALL)
        if hit is not None:
            hit.mattered = True
        await self._send(call, answer_lost=hit is not None and hit.fault is Fault.ANSWER_LOST)
        if hit is not None and hit.fault is Fault.SENT_TWICE:
            await self._send(call)

    async def _send(self, call: Call, *, answer_lost: bool = False) -> None:
        sent = self.witness.sent(call)
        is_read = call.function in ("get_basket", "get_order") and not self.faults.not_yet
        before = await self._databases.progress(call.user) if is_read else {}

        async def done(response: Response | None) -> None:
            if response is None:
                return
            replayed = "idempotent-replayed" in response.headers
            body = json.loads(bytes(response.body))
            self.note(f"    { ({name: body[name] for name in _TOLD if name in body}) }")
            if call.function == "get_basket" and response.status_code == 200 and body["basket"] not in self._given:
                self._given.add(body["basket"])
                await self._databases.check_earlier_baskets_paid(call.user, body["basket"])
            if is_read and response.status_code == 200 and "attempt" not in call.fields:
                status = body.get("order_status", body["message"])
                attempt = body["attempt"] - (call.function == "get_basket" and status == "open")  # it gives the next
                far = progress(attempt, status) >= before.get(body["basket"], progress(0, "open"))
                holds(far, "a basket is never answered from before it was asked for", body, before)
            sent.answered(response.status_code, body, replayed=replayed)
            if response.status_code == 200 and not answer_lost:
                self.workload.learn(call, body)

        what = f"{call.method} {dict(call.fields)}" + (f" with key {call.key}" if call.key else "")
        headers = {} if call.key is None else {"Idempotency-Key": call.key}
        await self._start(call.function, what, call.method, headers, json.dumps(dict(call.fields)).encode(), done)

    async def _tick(self) -> None:
        """Let a minute pass, or an hour: baskets on their way are due, and resend looks for them."""
        await self._databases.make_due(self.workload.users)

        async def done(response: Response | None) -> None:
            pass

        await self._start("resend_orders", "a tick", "POST", {"ce-id": "tick"}, b"{}", done)

    # --- Kafka -------------------------------------------------------------------------------------------------------

    def store(self, headers: Mapping[str, str], data: bytes) -> None:
        """Store an event in its topic."""
        event = _KINDS[headers["ce-type"]].FromString(data)
        record = Record(headers, data, event)
        self.witness.stored(headers, data, event)
        self._records.append(record)
        self._deliver_to_all(record)

    def _deliver_to_all(self, record: Record) -> None:
        for function in consumers(type(record.event)):
            self._will_deliver(function, record)

    def _will_deliver(self, function: str, record: Record, tries: int = 0) -> None:
        self._will(partial(self._deliver, Delivery(function, record, tries)))

    async def _deliver(self, delivery: Delivery) -> None:
        function, record = delivery.function, delivery.record
        hit = self.faults.decide(TO_DECISION if isinstance(record.event, PaymentDecided) else TO_REQUEST)
        fault = hit.fault if hit else None
        what = self._describe(record)
        if hit:
            hit.mattered = True
            self.note(f"source, {what} to {function} !!! {hit.fault} (fault {hit.number})")
        match fault:
            case Fault.DELIVERY_LOST:
                return
            case Fault.DELIVERY_DEAD:
                self._dead_letters.append(delivery)
                return
            case Fault.DELIVERED_TWICE:
                self._will_deliver(function, record)
            case Fault.DELIVERED_AGAIN:
                self._deliver_to_all(self._random.choice(self._records))
            case Fault.DECISION_FORGED:
                await self._forge(function, record)
            case Fault.REQUEST_FORGED:
                await self._forge_attempt(function, record)

        async def done(response: Response | None) -> None:
            status = None if response is None else response.status_code
            if response is not None and status in (422, 503):
                self.witness.refused.add((record.event.basket, record.event.attempt))
            if response is not None and record.event.epoch < self.witness.epoch:
                told = bytes(response.body).decode()
                of_the_lost_time = status == 422 and told.startswith(
                    "older_epoch: emitted before the restore of 2026-11-26T00:00:00Z"
                )
                holds(
                    of_the_lost_time or status == 503, "an event of the lost time is kept out", function, status, told
                )
                if status == 422:
                    return
            if response is not None and status == 422:
                if self._apart is not None:
                    return  # its dead letter tells of what differs
                raise Anomaly(f"{function} refused an honest event: {bytes(response.body).decode()}")
            if status == 200 and fault is not Fault.DELIVERY_FORGOTTEN:
                self.witness.consumed(function, record.event)
            elif delivery.tries < _RETRIES:
                self._will_deliver(function, record, delivery.tries + 1)
            else:
                self._dead_letters.append(delivery)

        await self._start(function, what, "POST", record.headers, record.data, done)

    async def _forge(self, function: str, record: Record) -> None:
        """Deliver a decision that billing never made: it is refused, unless it is too old to matter.

        The first one that notify hears of it believes: it comes after the honest one. A function that stores nothing to
        hold it against, as one that was just made, can tell nothing.
        """
        can_tell = function == "order_handler" or (
            function == "notify_handler" and self.witness.was_notified(record.event)
        )
        if not can_tell:
            return
        event = PaymentDecided.FromString(record.data)
        if self._random.random() < 0.5:
            event.sum += 1
            event.outcome = DECLINED if event.outcome == PAID else PAID
        else:
            event.user += "'s friend"

        async def done(response: Response | None) -> None:
            may_be_older = function == "order_handler" and event.user == record.event.user
            if response is not None and response.status_code == 200 and not may_be_older:
                raise Anomaly(f"{function} took a forged decision")

        forged = replace(record, event=event, data=event.SerializeToString(deterministic=True))
        await self._start(function, f"forged {self._describe(forged)}", "POST", forged.headers, forged.data, done)

    async def _forge_attempt(self, function: str, record: Record) -> None:
        """Deliver a request for an attempt that nobody can have ordered: it is refused, and not remembered."""
        event = PaymentRequested.FromString(record.data)
        event.attempt += self._random.choice((1_000, 2**62))
        event.sum = self._random.choice((event.sum, 10**12))

        async def done(response: Response | None) -> None:
            holds(response is None or response.status_code in (422, 503), "a forged attempt is refused", event)

        data = event.SerializeToString(deterministic=True)
        headers = {**record.headers, "ce-id": f"{event.basket}.{event.attempt}"}
        forged = replace(record, event=event, headers=headers, data=data)
        await self._start(function, f"forged {self._describe(forged)}", "POST", headers, data, done)

    @staticmethod
    def _describe(record: Record) -> str:
        event = record.event
        text = f"{type(event).__name__} {event.basket} attempt {event.attempt} sum {event.sum}"
        return f"{text} outcome {event.outcome} {event.reason}" if isinstance(event, PaymentDecided) else text
