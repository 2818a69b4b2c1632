"""Look at a run from outside: at what was asked and answered, what went through Kafka, what the databases hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from proof.simulation.workload import Call
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from shop.store.client import Document

Attempt = tuple[str, int]
"""A basket's id and the number of an attempt to pay it."""


Progress = tuple[int, bool]
"""The latest attempt of a basket, and whether it is settled: it only ever grows."""


def progress(attempt: int, status: str) -> Progress:
    """Return how far a basket is."""
    return attempt, status != "ordered"


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
        self.refused: set[Attempt] = set()
        """What a consumer could not take, in this epoch: its dead letter is seen by somebody."""

        self.epoch = 0
        self._contents: dict[tuple[str, str, int], tuple[Mapping[str, str], bytes]] = {}
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
        first = self._contents.setdefault((headers["ce-type"], headers["ce-id"], event.epoch), content)
        if first != content:
            self._anomaly = Anomaly(f"nothing is emitted twice with other content: {first}: {content}")
        if event.epoch != self.epoch:
            return  # it was on its way when the databases were restored: it tells of the lost time
        attempt = (event.basket, event.attempt)
        if isinstance(event, PaymentDecided):
            self.decided[attempt] = event
        else:
            self.requested[attempt] = event

    def consumed(self, function: str, event: PaymentRequested | PaymentDecided) -> None:
        """Remember that a consumer answered 200."""
        if function == "notify_handler" and isinstance(event, PaymentDecided):
            self.notified[event.basket, event.attempt] = event

    def remember(self) -> "Memory":
        """Return what is known now, beside a backup."""
        answered = {id(sent): replace(sent) for sent in self.calls if sent.status is not None}
        return Memory(answered, dict(self.requested), dict(self.decided), dict(self.notified))

    def forget(self, memory: "Memory", epoch: int) -> None:
        """Go back to what was known at a backup: of whatever was answered since, nobody knows whether it is there."""
        for sent in self.calls:
            if id(sent) not in memory.answered:
                sent.status, sent.body, sent.replayed = None, {}, False
        self.requested, self.decided = dict(memory.requested), dict(memory.decided)
        self.notified = dict(memory.notified)
        self.refused.clear()
        self.epoch = epoch

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


@dataclass(frozen=True)
class Memory:
    """What the witness knew at the moment of a backup."""

    answered: Mapping[int, Sent]
    requested: Mapping[Attempt, PaymentRequested]
    decided: Mapping[Attempt, PaymentDecided]
    notified: Mapping[Attempt, PaymentDecided]


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


Backup = Mapping[str, list[Document]]
"""Documents by the name of their collection."""

OF_SERVICE: Mapping[str, tuple[str, ...]] = {
    "orders": ("baskets",),
    "billing": ("users", "paid_baskets", "deposits"),
    "notify": ("notifications",),
}
"""The collections of each service."""


def as_it_was(collection: AsyncCollection[Document]) -> AsyncCollection[Document]:
    """Return what a primary that was replaced has of a collection."""
    database = collection.database
    return database.client[f"{database.name}_as_it_was"][collection.name]


class Databases:
    """The three databases, looked at and aged from outside of the functions."""

    def __init__(self, client: AsyncMongoClient[Document]) -> None:
        orders, billing, notify = client["orders"], client["billing"], client["notify"]
        self._baskets, self._users = orders["baskets"], billing["users"]
        self._paid, self._deposits = billing["paid_baskets"], billing["deposits"]
        self._notifications = notify["notifications"]
        self._all = {
            collection.name: (collection, "_id" if collection is self._users else "user")
            for collection in (self._baskets, self._users, self._paid, self._deposits, self._notifications)
        }

    async def replace_primary(self, users: Iterable[str]) -> None:
        """Keep these users' baskets and accounts as they are, for a primary that learns of nothing any more."""
        names = list(users)
        for collection, user in ((self._baskets, "user"), (self._users, "_id")):
            documents = await collection.find({user: {"$in": names}}).to_list()
            await as_it_was(collection).delete_many({})
            if documents:
                await as_it_was(collection).insert_many(documents)

    async def backup(self, users: Iterable[str]) -> Backup:
        """Return all that is held of these users, as of this moment."""
        names = {"$in": list(users)}
        return {name: await documents.find({user: names}).to_list() for name, (documents, user) in self._all.items()}

    async def restore(self, users: Iterable[str], backup: Backup, collections: Iterable[str]) -> None:
        """Put back what a backup has in these collections; the baskets that are ordered are due at once."""
        names = {"$in": list(users)}
        for name in collections:
            documents, user = self._all[name]
            await documents.delete_many({user: names})
            if backup[name]:
                await documents.insert_many(backup[name])
        await self.make_due(users)

    async def make_due(self, users: Iterable[str]) -> int:
        """Let the time come when resend looks at the ordered baskets; return how many there are."""
        due = {"$set": {"resend_at": datetime(2000, 1, 1, tzinfo=UTC)}}
        updated = await self._baskets.update_many({"user": {"$in": list(users)}, "status": "ordered"}, due)
        return updated.matched_count

    async def progress(self, user: str) -> dict[str, Progress]:
        """Return how far each of a user's baskets is."""
        baskets = await self._baskets.find({"user": user}).to_list()
        return {str(basket["_id"]): progress(basket["attempt"], basket["status"]) for basket in baskets}

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
