"""What every peer of billing_handler does to an account: the usual conditional update, and the usual look after it.

An account remembers each paid basket, so a delivery that is repeated charges nothing and is answered the same.
"""

from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested

Document = dict[str, Any]


def can_pay(requested: PaymentRequested) -> Document:
    """Return the filter of an account that has the money and has not paid the basket."""
    return {
        "_id": requested.user,
        "balance": {"$gte": requested.sum},
        "paid_baskets.basket": {"$ne": ObjectId(requested.basket)},
    }


def pay(requested: PaymentRequested) -> Document:
    """Return the update that pays it."""
    paid = {
        "basket": ObjectId(requested.basket),
        "number": requested.number,
        "attempt": requested.attempt,
        "sum": requested.sum,
        "decided_at": datetime.now(UTC),
    }
    return {"$inc": {"balance": -requested.sum}, "$push": {"paid_baskets": {"$each": [paid], "$slice": -64}}}


def decision(requested: PaymentRequested, account: Document | None) -> PaymentDecided:
    """Return what the account says of the basket."""
    decided = PaymentDecided(
        user=requested.user,
        basket=requested.basket,
        number=requested.number,
        attempt=requested.attempt,
        sum=requested.sum,
        outcome=DECLINED,
    )
    for paid in account["paid_baskets"] if account else []:
        if paid["basket"] == ObjectId(requested.basket):
            decided.outcome = PAID
            decided.decided_at.FromDatetime(paid["decided_at"])
    return decided


def attributes(decided: PaymentDecided) -> dict[str, str]:
    """Return the attributes of its CloudEvent."""
    return {
        "id": f"{decided.basket}.{decided.attempt}",
        "type": "shop.events.v1.PaymentDecided",
        "source": "/billing",
        "subject": decided.basket,
        "partitionkey": decided.user,
        "datacontenttype": "application/protobuf",
    }
