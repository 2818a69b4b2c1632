"""A history of any size, written at once: what the databases and the topics hold after so many paid orders.

Orders through HTTP take a minute for some thousands. This is the state that they would have left, in seconds.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from bson import Int64, ObjectId
from confluent_kafka import Producer
from google.protobuf.message import Message
from pymongo import MongoClient

from local.stack import Stack
from shop.messages import event_id, rfc3339
from shop.schema.events_pb2 import PAID, PaymentDecided, PaymentRequested

ORDERS_EACH = 100
_ARCHIVED = 64  # of each user's: two batches of 32, as billing moves them
_BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
_USERS_AT_ONCE = 50


def write_history(stack: Stack, orders: int) -> None:
    """Write the documents and the events of this many orders, a hundred for each user."""
    producer = Producer({"bootstrap.servers": stack.kafka_bootstrap_servers, "linger.ms": 50})
    users = [f"Павел {number:06}" for number in range(orders // ORDERS_EACH)]
    with MongoClient[Any](stack.mongodb_uri, tz_aware=True) as client:
        for start in range(0, len(users), _USERS_AT_ONCE):
            documents: dict[str, list[Any]] = {}
            for user in users[start : start + _USERS_AT_ONCE]:
                for place, document in _of_user(user, producer):
                    documents.setdefault(place, []).append(document)
            for place, batch in documents.items():
                service, _, name = place.partition(".")
                client[service][name].insert_many(batch)
            producer.flush()


def _of_user(user: str, producer: Producer) -> Iterator[tuple[str, Any]]:
    paid = []
    for number in range(1, ORDERS_EACH + 1):
        basket, at = ObjectId(), _BEGUN + timedelta(minutes=number)
        sum_, one = Int64(number), Int64(1)
        entry = {"number": Int64(number), "basket": basket, "attempt": one, "sum": sum_, "paid_at": at}
        paid.append(entry)
        yield (
            "orders.baskets",
            {
                "_id": basket,
                "user": user,
                "number": Int64(number),
                "status": "paid",
                "attempt": one,
                "sum": sum_,
                "ordered_at": at,
                "request": ObjectId(),
                "decided_at": at,
            },
        )
        key = {"user": user, "basket": basket, "attempt": one, "sum": sum_}
        outcome = {"outcome": "paid", "reason": "", "decided_at": at, "recorded_at": at}
        yield "notify.notifications", {"_id": f"{basket}.1", **key, **outcome}
        if number <= _ARCHIVED:
            yield "billing.paid_baskets", {**entry, "user": user}
        content = {"user": user, "basket": str(basket), "number": number, "attempt": 1, "sum": number}
        _produce(producer, "payments", "/orders", at, PaymentRequested(**content, ordered_at=at))
        _produce(producer, "results", "/billing", at, PaymentDecided(**content, outcome=PAID, decided_at=at))
    yield (
        "billing.users",
        {
            "_id": user,
            "balance": Int64(10**6 - sum(entry["sum"] for entry in paid)),
            "paid_baskets": paid[_ARCHIVED:],
            "archived_through": Int64(_ARCHIVED),
            "deposits": [{"key": "first", "sum": Int64(10**6), "at": _BEGUN}],
            "archived": {"paid": Int64(sum(entry["sum"] for entry in paid[:_ARCHIVED]))},
        },
    )


def _produce(producer: Producer, topic: str, source: str, at: datetime, about: Any) -> None:
    assert isinstance(about, Message)
    key = quote(about.user, safe="")
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event_id(about),
        "ce_source": source,
        "ce_type": about.DESCRIPTOR.full_name,
        "ce_subject": about.basket,
        "ce_time": rfc3339(at),
        "ce_partitionkey": key,
        "content-type": "application/protobuf",
    }
    producer.produce(topic, about.SerializeToString(deterministic=True), key, headers=dict(headers))
    producer.poll(0)
