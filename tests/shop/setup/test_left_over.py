"""A process that is left over from before a restore cannot write to what was restored: the databases have other names.

docs/setup.md prescribes it: restore under new names, begin the epoch there, set the names in the manifests.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, ObjectId

from local.servers.mongodb import Mongod
from shop.emission import emit
from shop.messages import rfc3339
from shop.process import process
from shop.schema.events_pb2 import PaymentRequested
from shop.setup import restored, setup
from shop.state import COLLECTIONS, SERVICES
from shop.store.client import client, collection
from tests.support.processes import Process, shop_serve
from tests.support.sink import Sink

pytestmark = pytest.mark.usefixtures("empty")

BEFORE = {service: service for service in SERVICES}
RESTORED = {service: f"{service}_2" for service in SERVICES}


@pytest.fixture
async def other_names(empty: None) -> AsyncIterator[None]:
    """Leave nothing under the names of the restore."""
    for name in RESTORED.values():
        await client().drop_database(name)
    yield
    for name in RESTORED.values():
        await client().drop_database(name)


async def documents(names: dict[str, str]) -> dict[str, Any]:
    """Return everything in the databases of these names."""
    return {
        f"{each.service}.{each.name}": await client()[names[each.service]][each.name].find().sort("_id").to_list()
        for each in COLLECTIONS
    }


def request(number: int, epoch: int = 0) -> PaymentRequested:
    """Return a request for 10 for Pavel's basket of this number."""
    at = datetime(2026, 11, 26, 20, number, tzinfo=UTC)
    return PaymentRequested(
        user="Pavel", basket=f"{number:024x}", number=number, attempt=1, sum=10, ordered_at=at, epoch=epoch
    )


async def deliver(to: Process, event: PaymentRequested) -> tuple[int, str]:
    """Deliver an event as KafkaSource does, and return the status and the text of the answer."""
    lines = [f"{name}: {value}" for name, value in emit._headers(event, None).items()]
    answer = await to.send("POST", "/", event.SerializeToString(deterministic=True), *lines)
    return answer.status, answer.text


@asynccontextmanager
async def billing_handler(mongod: Mongod, sink: Sink, names: dict[str, str]) -> AsyncIterator[Process]:
    """Run one, with the databases of these names."""
    variables = {f"{service.upper()}_DATABASE": name for service, name in names.items()}
    async with shop_serve("billing_handler", MONGODB_URI=mongod.uri, K_SINK=sink.url, **variables) as process:
        yield process


@pytest.mark.usefixtures("other_names")
async def test_a_process_from_before_a_restore_cannot_change_what_was_restored(
    empty_mongod: Mongod, configure: Callable[..., None]
) -> None:
    """It goes on with the databases of before; one that starts afterwards refuses what was emitted in the lost time."""
    await setup()
    await collection("billing", "users").insert_one({"_id": "Pavel", "balance": Int64(100)})
    async with Sink() as sink, billing_handler(empty_mongod, sink, BEFORE) as left_over:
        assert await deliver(left_over, request(1)) == (200, "")
        backup = await documents(BEFORE)
        assert await deliver(left_over, request(2)) == (200, "")  # in the time that the restore takes back

        configure(databases=RESTORED)
        await setup()
        for place, stored in backup.items():
            service, _, name = place.partition(".")
            if stored:
                await collection(service, name).insert_many(stored)
        ordered = {"_id": ObjectId(f"{3:024x}"), "user": "Pavel", "number": Int64(3), "attempt": Int64(1)}
        await collection("orders", "baskets").insert_one({**ordered, "status": "ordered", "sum": Int64(10)})
        began = await restored()
        assert process.current().settings.databases == RESTORED

        before = await documents(RESTORED)
        for number in (1, 2, 3):
            assert await deliver(left_over, request(number)) == (200, "")
        assert (await deliver(left_over, request(3, began.epoch)))[0] == 503
        assert await documents(RESTORED) == before

        async with billing_handler(empty_mongod, sink, RESTORED) as started:
            moment = rfc3339(began.restored_at)
            text = f"older_epoch: emitted before the restore of {moment}; what is still open is asked for again"
            for number in (1, 2, 3):
                assert await deliver(started, request(number)) == (422, text)
            assert await documents(RESTORED) == before
            assert await deliver(started, request(3, began.epoch)) == (200, "")
        (account,) = (await documents(RESTORED))["billing.users"]
        assert [paid["number"] for paid in account["paid_baskets"]] == [1, 3]
        assert account["balance"] == 80
