"""The shop's consumers as most would write them with FastStream, at least once: `billing`, `orders` or `notify`."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from typing import Any

import uvloop
from bson import ObjectId
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel
from pymongo import AsyncMongoClient, ReturnDocument

Document = dict[str, Any]

(service,) = sys.argv[1:]
broker = KafkaBroker(os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all", logger=None)
client = AsyncMongoClient[Document](os.environ["MONGODB_URI"], w="majority")
users, baskets, notifications = client.peer["users"], client.peer["baskets"], client.peer["notifications"]

options = {"group_id": service, "auto_offset_reset": "earliest", "ack_policy": AckPolicy.NACK_ON_ERROR}


class PaymentRequested(BaseModel):
    user: str
    basket: str
    number: int
    attempt: int
    sum: int


class PaymentDecided(PaymentRequested):
    outcome: str


async def charge(requested: PaymentRequested) -> None:
    basket = ObjectId(requested.basket)
    paid = {"basket": basket, "number": requested.number, "sum": requested.sum, "at": datetime.now(UTC)}
    account = await users.find_one_and_update(
        {"_id": requested.user, "balance": {"$gte": requested.sum}, "paid_baskets.basket": {"$ne": basket}},
        {"$inc": {"balance": -requested.sum}, "$push": {"paid_baskets": {"$each": [paid], "$slice": -64}}},
        return_document=ReturnDocument.AFTER,
    ) or await users.find_one({"_id": requested.user})
    is_paid = account is not None and any(each["basket"] == basket for each in account["paid_baskets"])
    decided = PaymentDecided(**requested.model_dump(), outcome="paid" if is_paid else "declined")
    await broker.publish(decided, "peer-results", key=requested.user.encode())


async def settle(decided: PaymentDecided) -> None:
    status = "paid" if decided.outcome == "paid" else "open"
    await baskets.update_one(
        {"_id": ObjectId(decided.basket), "attempt": decided.attempt, "status": "ordered"}, {"$set": {"status": status}}
    )


async def notify(decided: PaymentDecided) -> None:
    key = f"{decided.basket}.{decided.attempt}"
    await notifications.update_one({"_id": key}, {"$setOnInsert": decided.model_dump()}, upsert=True)


if service == "billing":
    broker.subscriber("peer-payments", **options)(charge)
else:
    broker.subscriber("peer-results", **options)(settle if service == "orders" else notify)

if __name__ == "__main__":
    uvloop.install()
    asyncio.run(FastStream(broker, logger=None).run())
