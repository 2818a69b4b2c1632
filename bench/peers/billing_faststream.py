"""The billing handler with FastStream, at least once: `one` record after the other, or what has come as a `batch`."""

import asyncio
import os
import sys

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from pymongo import AsyncMongoClient, ReturnDocument, UpdateOne

from bench.peers.account import Document, attributes, can_pay, decision, pay
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested

(mode,) = sys.argv[1:]
broker = KafkaBroker(os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all", logger=None)
users = AsyncMongoClient[Document](os.environ["MONGODB_URI"], w="majority").get_database(
    os.environ["BILLING_DATABASE"]
)["users"]


def headers(decided: PaymentDecided) -> dict[str, str]:
    return {f"ce_{name}": value for name, value in attributes(decided).items()}


async def raw(message: KafkaMessage) -> object:
    return message.body


async def one(body: bytes) -> None:
    requested = PaymentRequested.FromString(body)
    account = await users.find_one_and_update(
        can_pay(requested), pay(requested), return_document=ReturnDocument.AFTER
    ) or await users.find_one({"_id": requested.user})
    decided = decision(requested, account)
    await broker.publish(decided.SerializeToString(), f"results-{mode}", headers=headers(decided))


async def batch(bodies: list[bytes]) -> None:
    requests = [PaymentRequested.FromString(body) for body in bodies]
    await users.bulk_write([UpdateOne(can_pay(each), pay(each)) for each in requests], ordered=False)
    found = users.find({"_id": {"$in": [each.user for each in requests]}})
    accounts = {account["_id"]: account async for account in found}
    decided = [decision(each, accounts.get(each.user)) for each in requests]
    await broker.publish_batch(*(each.SerializeToString() for each in decided), topic=f"results-{mode}")


subscribed = broker.subscriber(
    f"payments-{mode}",
    group_id=f"billing-{mode}",
    batch=mode == "batch",
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,
    decoder=raw,
)
subscribed(batch if mode == "batch" else one)

if __name__ == "__main__":
    uvloop.install()
    asyncio.run(FastStream(broker, logger=None).run())
