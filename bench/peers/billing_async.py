"""The billing handler as a careful person writes it with the framework's asynchronous side: each event for itself."""

import os

import aiohttp
import functions_framework.aio
import uvicorn
from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent
from functions_framework.aio import create_asgi_app
from pymongo import AsyncMongoClient, ReturnDocument

from bench.peers.account import Document, attributes, can_pay, decision, pay
from shop.schema.events_pb2 import PaymentRequested

users = AsyncMongoClient[Document](os.environ["MONGODB_URI"], w="majority").get_database(
    os.environ["BILLING_DATABASE"]
)["users"]
session: list[aiohttp.ClientSession] = []


@functions_framework.aio.cloud_event
async def billing(event: CloudEvent) -> None:
    requested = PaymentRequested.FromString(event.data)
    account = await users.find_one_and_update(
        can_pay(requested), pay(requested), return_document=ReturnDocument.AFTER
    ) or await users.find_one({"_id": requested.user})
    decided = decision(requested, account)
    headers, body = to_binary(CloudEvent(attributes(decided), decided.SerializeToString()))
    if not session:
        session.append(aiohttp.ClientSession())
    async with session[0].post(os.environ["K_SINK"], data=body, headers=headers) as response:
        response.raise_for_status()


if __name__ == "__main__":
    uvicorn.run(
        create_asgi_app("billing", __file__),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
    )
