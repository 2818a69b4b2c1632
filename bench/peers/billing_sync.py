"""The billing handler as most write it: a synchronous function, under gunicorn's threads as the framework starts it."""

import os

import functions_framework
import requests
from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent
from pymongo import MongoClient, ReturnDocument

from bench.peers.account import Document, attributes, can_pay, decision, pay
from shop.schema.events_pb2 import PaymentRequested

users = MongoClient[Document](os.environ["MONGODB_URI"], w="majority").get_database(os.environ["BILLING_DATABASE"])[
    "users"
]
session = requests.Session()


@functions_framework.cloud_event
def billing(event: CloudEvent) -> None:
    requested = PaymentRequested.FromString(event.data)
    account = users.find_one_and_update(
        can_pay(requested), pay(requested), return_document=ReturnDocument.AFTER
    ) or users.find_one({"_id": requested.user})
    decided = decision(requested, account)
    headers, body = to_binary(CloudEvent(attributes(decided), decided.SerializeToString()))
    session.post(os.environ["K_SINK"], data=body, headers=headers, timeout=2).raise_for_status()
