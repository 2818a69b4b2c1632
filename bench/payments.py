"""Events for billing_handler, as KafkaSource delivers them, and accounts to charge."""

import time
from collections.abc import Mapping
from typing import Any, Final

from bson import Int64
from pymongo import AsyncMongoClient

from bench import load
from shop.messages import SOURCES, event_id, happened_at, rfc3339
from shop.schema.events_pb2 import PaymentRequested

MONEY: Final = 10**12


class Payments:
    """One event after the other, each of the next user in turn, who orders his next basket."""

    def __init__(self, users: int) -> None:
        self._users = users
        self.made = 0

    def next(self) -> PaymentRequested:
        """Return the next event: a basket that nobody has paid."""
        round_, user = divmod(self.made, self._users)
        self.made += 1
        return payment(f"user-{user}", number=round_ + 1, basket=self.made)


def payment(user: str, *, number: int, basket: int) -> PaymentRequested:
    """Return the event of a basket's first attempt, for a sum of 1."""
    requested = PaymentRequested(user=user, basket=f"{basket:024x}", number=number, attempt=1, sum=1)
    requested.ordered_at.FromMilliseconds(time.time_ns() // 1_000_000)  # as precise as a stored time
    return requested


def headers(event: PaymentRequested) -> Mapping[str, str]:
    """Return the headers of its CloudEvent in binary mode."""
    return {
        "content-type": "application/protobuf",
        "ce-specversion": "1.0",
        "ce-id": event_id(event),
        "ce-type": event.DESCRIPTOR.full_name,
        "ce-source": SOURCES[type(event)],
        "ce-subject": event.basket,
        "ce-time": rfc3339(happened_at(event)),
        "ce-partitionkey": event.user,
    }


def post(url: str, event: PaymentRequested) -> bytes:
    """Return the request that delivers an event to a function."""
    return load.request("POST", url, headers(event), event.SerializeToString())


async def open_accounts(uri: str, database: str, users: int) -> None:
    """Make users who have money and have bought nothing."""
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        accounts = ({"_id": f"user-{user}", "balance": Int64(MONEY)} for user in range(users))
        await client[database]["users"].insert_many(accounts, ordered=False)


async def charged(uri: str, database: str) -> int:
    """Return what all users together were charged."""
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        total = [{"$group": {"_id": None, "users": {"$sum": 1}, "balance": {"$sum": "$balance"}}}]
        (sums,) = await (await client[database]["users"].aggregate(total)).to_list()
    return int(sums["users"] * MONEY - sums["balance"])
