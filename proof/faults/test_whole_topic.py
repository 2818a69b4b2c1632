"""The whole of both topics is delivered once more, after everything the other tests did to the system."""

import asyncio
import hashlib

from bson import encode

from proof.faults.customers import Shop
from proof.faults.system import System
from proof.faults.topics import PAYMENTS, RESULTS

_STATE = [
    "orders.baskets",
    "billing.users",
    "billing.paid_baskets",
    "billing.deposits",
    "notify.notifications",
]


async def test_the_whole_of_both_topics_replayed_in_any_order_changes_nothing(system: System, shop: Shop) -> None:
    """Every record of the run again, shuffled: all documents of the three databases stay as they are."""
    users = await asyncio.gather(*(shop.account(100) for _ in range(20)))
    await asyncio.gather(*(system.pay(user, 10) for user in users))
    await system.drained()
    before = await _state(system)
    records = [record for topic in (PAYMENTS, RESULTS) for record in system.topics.records(topic)]

    system.topics.replay(records)

    await system.drained()
    assert await _state(system) == before


async def _state(system: System) -> dict[str, dict[str, str]]:
    """Return a hash of each document by its id, without the clock of resend, which ticks on."""
    return {
        name: {
            str(document["_id"]): hashlib.sha256(encode(document)).hexdigest()
            async for document in system.collection(name).find({}, {"resend_at": False})
        }
        for name in _STATE
    }
