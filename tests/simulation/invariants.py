"""What must be true of every run: of each event as it is stored, and of the three databases when all has settled."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient

from shop import settings
from shop.messages import event_id, to_datetime
from shop.mongo import Document
from shop.schema.events_pb2 import PAID, PaymentDecided, PaymentRequested
from tests.simulation.workload import Call

Attempt = tuple[str, int]
"""A basket's id and the number of an attempt to pay it."""


class Anomaly(Exception):
    """A promise is broken."""


def holds(condition: bool, promise: str, *details: object) -> None:
    """Raise Anomaly unless the condition holds."""
    if not condition:
        raise Anomaly(": ".join([promise, *map(str, details)]))


# --- what is seen from outside ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class Sent:
    """A call as it was sent, once, and what it was answered, if it was."""

    call: Call
    had_account: bool
    """CreateUser had been answered before this was sent."""

    status: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    replayed: bool = False

    def answered(self, status: int, body: Mapping[str, Any], *, replayed: bool) -> None:
        """Keep the answer."""
        self.status, self.body, self.replayed = status, body, replayed


class Witness:
    """Remembers what the world saw: what was asked and answered, and what went through Kafka."""

    def __init__(self, users: list[str]) -> None:
        self.users = users
        self.calls: list[Sent] = []
        self.requested: dict[Attempt, PaymentRequested] = {}
        self.decided: dict[Attempt, PaymentDecided] = {}
        self.notified: dict[Attempt, PaymentDecided] = {}
        self._contents: dict[tuple[str, str], tuple[Mapping[str, str], bytes]] = {}
        self._anomaly: Anomaly | None = None

    def sent(self, call: Call) -> Sent:
        """Remember a call, and return what is to keep its answer."""
        had_account = any(
            earlier.call.function == "create_user" and earlier.call.user == call.user and earlier.status == 200
            for earlier in self.calls
        )
        self.calls.append(Sent(call, had_account))
        return self.calls[-1]

    def stored(self, headers: Mapping[str, str], data: bytes, event: PaymentRequested | PaymentDecided) -> None:
        """Remember an event; another one under the same id must be the same byte for byte.

        The anomaly is kept for `raise_anomaly`: here it would be raised in the function that emits.
        """
        content = (headers, data)
        first = self._contents.setdefault((headers["ce-type"], headers["ce-id"]), content)
        if first != content:
            self._anomaly = Anomaly(f"nothing is emitted twice with other content: {first}: {content}")
        attempt = (event.basket, event.attempt)
        if isinstance(event, PaymentDecided):
            self.decided[attempt] = event
        else:
            self.requested[attempt] = event

    def consumed(self, function: str, event: PaymentRequested | PaymentDecided) -> None:
        """Remember that a consumer answered 200."""
        if function == "notify_handler" and isinstance(event, PaymentDecided):
            self.notified[event.basket, event.attempt] = event

    def was_notified(self, event: PaymentRequested | PaymentDecided) -> bool:
        """Tell whether notify has answered 200 to a decision."""
        return (event.basket, event.attempt) in self.notified

    def raise_anomaly(self) -> None:
        """Raise what was wrong with an event, if anything was."""
        if self._anomaly is not None:
            raise self._anomaly

    def granted(self, function: str) -> list[Sent]:
        """Return the calls of a function that were answered 200."""
        return [sent for sent in self.calls if sent.call.function == function and sent.status == 200]


# --- what the databases hold -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Holdings:
    """What the three databases hold of the users of one run."""

    accounts: Mapping[str, Document]
    baskets: list[Document]
    paid_archive: list[Document]
    deposit_archive: list[Document]
    notifications: list[Document]

    def of(self, name: str, user: str) -> list[Document]:
        """Return one user's documents."""
        return [document for document in getattr(self, name) if document["user"] == user]


class Databases:
    """The three databases, looked at and aged from outside of the functions."""

    def __init__(self, client: AsyncMongoClient[Document]) -> None:
        orders, billing, notify = (client[settings.database(name)] for name in ("orders", "billing", "notify"))
        self._baskets, self._users = orders["baskets"], billing["users"]
        self._paid, self._deposits = billing["paid_baskets"], billing["deposits"]
        self._notifications = notify["notifications"]

    async def make_due(self, users: Iterable[str]) -> int:
        """Let the time come when resend looks at the ordered baskets; return how many there are."""
        due = {"$set": {"resend_at": datetime(2000, 1, 1, tzinfo=UTC)}}
        updated = await self._baskets.update_many({"user": {"$in": list(users)}, "status": "ordered"}, due)
        return updated.matched_count

    async def check_earlier_baskets_paid(self, user: str, basket: str) -> None:
        """Check that a basket is given only when the ones before it are paid."""
        baskets = await self._baskets.find({"user": user}).to_list()
        number = next(stored["number"] for stored in baskets if stored["_id"] == ObjectId(basket))
        unpaid = [stored for stored in baskets if stored["number"] < number and stored["status"] != "paid"]
        holds(not unpaid, f"basket {number} is given only when the ones before it are paid", unpaid)

    async def holdings(self, users: Iterable[str]) -> Holdings:
        """Return all that is held of these users."""
        its = {"user": {"$in": list(users)}}
        accounts = await self._users.find({"_id": {"$in": list(users)}}).to_list()
        return Holdings(
            accounts={account["_id"]: account for account in accounts},
            baskets=await self._baskets.find(its, sort=[("user", 1), ("number", 1)]).to_list(),
            paid_archive=await self._paid.find(its).to_list(),
            deposit_archive=await self._deposits.find(its).to_list(),
            notifications=await self._notifications.find(its, sort=[("_id", 1)]).to_list(),
        )

    async def clear(self) -> None:
        """Forget all runs."""
        for collection in (self._baskets, self._users, self._paid, self._deposits, self._notifications):
            await collection.delete_many({})


# --- the promises ----------------------------------------------------------------------------------------------------


def check(witness: Witness, holdings: Holdings) -> None:
    """Check all promises. Raises Anomaly."""
    charges: dict[str, Document] = {}
    for user in witness.users:
        account = holdings.accounts.get(user, {})
        paid = _charges(account, holdings.of("paid_archive", user))
        deposits = _deposits(account, holdings.of("deposit_archive", user))
        _check_balance(account, paid, deposits)
        _check_deposits_counted([sent for sent in witness.calls if sent.call.user == user], deposits)
        _check_baskets(holdings.of("baskets", user), paid)
        charges |= {str(charge["basket"]): {**charge, "user": user} for charge in paid}
    baskets = {str(basket["_id"]): basket for basket in holdings.baskets}
    _check_decisions(witness, charges, baskets)
    _check_notifications(witness, holdings.notifications)
    _check_answers(witness, baskets, holdings.accounts)


def check_bounded(holdings: Holdings, most_paid: int, most_deposits: int) -> None:
    """Check that arrays this long are archived, when nothing failed that archives them. Raises Anomaly."""
    for account in holdings.accounts.values():
        archived = account.get("archived", {})
        paid = len(account.get("paid_baskets", [])) < most_paid or "paid" in archived
        deposits = len(account.get("deposits", [])) < most_deposits or "deposits" in archived
        holds(paid and deposits, "what outgrows an array is archived", account)


def check_unchanged(before: Holdings, after: Holdings) -> None:
    """Check that events delivered again changed nothing. Raises Anomaly.

    They may heal: a notification that was lost is recorded, and what is overdue is archived.
    """
    holds(before.baskets == after.baskets, "a replay changes no basket", before.baskets, after.baskets)
    same = all(notification in after.notifications for notification in before.notifications)
    holds(same, "a replay sends no notification again", before.notifications, after.notifications)
    for user, account in before.accounts.items():
        same = all(account.get(name) == after.accounts[user].get(name) for name in ("balance", "declined"))
        holds(same, "a replay changes no balance and no decline", account, after.accounts[user])


def _charges(account: Document, archive: list[Document]) -> list[Document]:
    """Return each charge once, from the array and the archive, whose overlap a crash may leave."""
    array: list[Document] = account.get("paid_baskets", [])
    through, moved = account.get("archived_through", 0), account.get("archived", {}).get("paid", 0)
    ids = Counter(charge["basket"] for charge in array)
    holds(all(count == 1 for count in ids.values()), "a basket is charged at most once", array)
    below = [charge for charge in archive if charge["number"] <= through]
    holds(all(charge["number"] > through for charge in array), "what is archived is not in the array", account)
    numbers = sorted(charge["number"] for charge in below)
    holds(numbers == list(range(1, through + 1)), "archived_through says what the archive holds", account, archive)
    holds(moved == sum(charge["sum"] for charge in below), "archived.paid is the sum of the archived", account)
    return array + [charge for charge in archive if charge["basket"] not in ids]


def _deposits(account: Document, archive: list[Document]) -> list[Document]:
    """Return each deposit once, from the array and the archive, whose overlap a crash may leave."""
    array: list[Document] = account.get("deposits", [])
    archived = account.get("archived", {})
    keys = Counter(deposit["key"] for deposit in array)
    holds(all(count == 1 for count in keys.values()), "a deposit is made at most once", array)
    moved = [deposit for deposit in archive if deposit["key"] not in keys]
    holds(archived.get("deposits", 0) == len(moved), "archived.deposits counts the archived", account, archive)
    total = sum(deposit["sum"] for deposit in moved)
    holds(archived.get("deposited", 0) == total, "archived.deposited is the sum of the archived", account, archive)
    return array + moved


def _check_balance(account: Document, paid: list[Document], deposits: list[Document]) -> None:
    expected = sum(deposit["sum"] for deposit in deposits) - sum(charge["sum"] for charge in paid)
    balance = account.get("balance", 0)
    holds(balance == expected, "balance = deposits - paid", balance, expected, account)
    holds(balance >= 0, "a balance is never negative", account)


def _check_deposits_counted(calls: list[Sent], deposits: list[Document]) -> None:
    made = Counter((str(deposit["key"]), deposit["sum"]) for deposit in deposits if isinstance(deposit["key"], str))
    keyless = Counter(deposit["sum"] for deposit in deposits if isinstance(deposit["key"], ObjectId))
    sent, acknowledged = Counter[int](), Counter[int]()
    sums_by_key = defaultdict[str, list[int]](list)
    for one in calls:
        if one.call.function != "deposit_cash":
            continue
        sum_, key = one.call.fields["sum"], one.call.key
        if key is None:
            sent[sum_] += 1
            acknowledged[sum_] += one.status == 200
            continue
        sums_by_key[key].append(sum_)
        if one.status == 200:
            holds((key, sum_) in made, "an acknowledged deposit is counted", one)
    for one in calls:
        if one.call.function == "deposit_cash" and one.status == 422:
            other_sum = one.call.key is not None and len(set(sums_by_key[one.call.key])) > 1
            holds(other_sum, "a deposit is refused only for the key of another sum", one)
    for key, sum_ in made:
        holds(sum_ in sums_by_key[key], "a deposit was sent", key, sum_)
    for sum_ in sent | keyless:
        counted = acknowledged[sum_] <= keyless[sum_] <= sent[sum_]
        holds(counted, "keyless deposits: acknowledged <= counted <= sent", acknowledged, keyless, sent)


def _check_baskets(baskets: list[Document], paid: list[Document]) -> None:
    numbers = [basket["number"] for basket in baskets]
    holds(numbers == list(range(1, len(baskets) + 1)), "baskets are numbered 1, 2, 3", baskets)
    for basket in baskets[:-1]:
        holds(basket["status"] == "paid", "a new basket exists only after the one before is paid", baskets)
    for basket in baskets:
        holds(basket["status"] != "ordered", "every ordered basket is settled", basket)
        charge = next((charge for charge in paid if charge["basket"] == basket["_id"]), None)
        holds((basket["status"] == "paid") == (charge is not None), "paid means charged", basket, charge)
        if charge is not None:
            same = all(charge[name] == basket[name] for name in ("number", "attempt", "sum"))
            holds(
                same and charge["paid_at"] == basket["decided_at"], "a basket is paid by its own charge", basket, charge
            )
    ids = {basket["_id"] for basket in baskets}
    holds(all(charge["basket"] in ids for charge in paid), "a charge is of the user's own basket", paid, baskets)


def _check_decisions(witness: Witness, charges: Mapping[str, Document], baskets: Mapping[str, Document]) -> None:
    for (basket, attempt), decided in witness.decided.items():
        requested = witness.requested.get((basket, attempt))
        holds(requested is not None, "what is decided was requested", decided)
        same = all(getattr(decided, name) == getattr(requested, name) for name in ("user", "number", "sum"))
        holds(same, "a decision is about what was requested", decided, requested)
        charge = charges.get(basket)
        if decided.outcome == PAID:
            right = charge is not None and (charge["attempt"], charge["sum"]) == (attempt, decided.sum)
            holds(right, "PAID means charged, at this attempt, this sum", decided, charge)
        else:
            holds(charge is None or charge["attempt"] > attempt, "DECLINED means not charged", decided, charge)
    for basket, stored in baskets.items():
        for attempt in range(1, stored["attempt"] + 1):
            decision = witness.decided.get((basket, attempt))
            last = attempt == stored["attempt"]
            holds(decision is not None, "an attempt ends with a decision", stored, attempt)
            assert decision is not None
            paid = last and stored["status"] == "paid"
            holds(
                (decision.outcome == PAID) == paid, "an attempt follows a decline, and none a payment", stored, decision
            )
            if last:
                holds(decision.sum == stored["sum"], "a basket keeps the sum it was decided for", stored, decision)
                holds(
                    decision.reason == stored.get("reason", ""),
                    "a basket tells its decision's reason",
                    stored,
                    decision,
                )
        holds((basket, stored["attempt"] + 1) not in witness.requested, "what is requested was ordered", stored)


def _check_notifications(witness: Witness, notifications: list[Document]) -> None:
    recorded = {notification["_id"]: notification for notification in notifications}
    decisions = {event_id(decided): decided for decided in witness.decided.values()}
    for decided in witness.notified.values():
        holds(event_id(decided) in recorded, "a decision that was delivered is notified", decided)
    for key, notification in recorded.items():
        holds(key in decisions, "what is notified was decided", notification)
        decided = decisions[key]
        same = (
            notification["user"] == decided.user
            and notification["sum"] == decided.sum
            and notification["outcome"] == ("paid" if decided.outcome == PAID else "declined")
            and notification["reason"] == decided.reason
            and notification["decided_at"] == to_datetime(decided.decided_at)
        )
        holds(same, "a notification says what was decided", notification, decided)


def _check_answers(witness: Witness, baskets: Mapping[str, Document], accounts: Mapping[str, Document]) -> None:
    for sent in witness.granted("create_user"):
        holds("balance" in accounts.get(sent.call.user, {}), "a user that was created exists", sent)
    for sent in witness.calls:
        if sent.status == 404 and sent.call.function in ("deposit_cash", "get_user"):
            holds(not sent.had_account, "a user that was created is found", sent)
        if sent.call.function in ("create_order", "get_order"):
            own = baskets[sent.call.fields["basket"]]["user"] == sent.call.user
            holds(
                sent.status in ((200, 422, 503, None) if own else (404, 503, None)), "a basket is its user's own", sent
            )
    for sent in witness.granted("get_basket"):
        holds(sent.body["order_status"] != "paid", "a basket that is given is unpaid", sent)
    accepted = Counter[Attempt]()
    for sent in witness.granted("create_order"):
        basket, attempt = sent.body["basket"], sent.body["attempt"]
        decision = witness.decided.get((basket, attempt))
        holds(decision is not None, "an accepted order is decided", sent)
        assert decision is not None
        wanted = sent.call.fields.get("attempt", attempt)
        holds(wanted == attempt, "an answer is about the attempt that was sent", sent)
        says, paid = sent.body["message"], decision.outcome == PAID
        if not sent.replayed:
            accepted[basket, attempt] += 1
            holds(says == "order accepted", "an order that was not made before is accepted", sent)
            holds(accepted[basket, attempt] == 1, "an attempt is ordered once", sent)
        if says != "order accepted":
            holds(says.startswith("paid" if paid else "declined"), "the client is told the truth", sent, decision)
        if not sent.replayed or "attempt" not in sent.call.fields:
            holds(decision.sum == sent.call.fields["sum"], "an order is charged the sum it was accepted for", sent)
