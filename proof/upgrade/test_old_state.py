"""What 67d5614 left is served, ordered from and replayed by today's functions, and old money stays what it was."""

import json
import random
from typing import Any

from pymongo import MongoClient

from local.servers.mongodb import Mongod
from proof.upgrade import books, kept
from proof.upgrade.served import TICK, Functions, headers_of, setup

_NEW = {"outcome", "decline_code"}
"""What answers about an order have by now, after all that they had."""


def _known_then(path: str, body: str) -> str:
    """Return an answer without the fields that 67d5614 did not know."""
    if not path.startswith(("/Order", "/GetOrder")):
        return body
    answer = json.loads(body)
    assert answer.keys() >= _NEW
    then = {name: value for name, value in answer.items() if name not in _NEW}
    return json.dumps(then, ensure_ascii=False, separators=(",", ":"))


async def test_the_dump_holds_what_it_says(shop: Functions, client: MongoClient[Any]) -> None:
    """All that is wrong with it is known."""
    assert books.wrong(client) == books.KNOWN
    assert kept.stored(client) == kept.saved()


async def test_setup_finds_the_old_collections_and_brings_them_up_to_date(
    shop: Functions, client: MongoClient[Any], mongod: Mongod
) -> None:
    """The old unique indexes are still there, the archives have positions in their indexes; it may run again."""
    kept.bring_back(client)
    for _ in range(2):
        code, said = await setup(mongod.uri)
        assert code == 0, said
    for archive, key in (("paid_baskets", "basket"), ("deposits", "key")):
        indexes = client.billing[archive].index_information()
        assert indexes[f"user_{key}"]["unique"]
        assert [("user", 1), ("position", 1)] in [index["key"] for index in indexes.values()]
    assert client.orders.baskets.index_information()["user_number"]["unique"]
    assert kept.stored(client) == kept.saved()


async def test_every_old_event_is_answered_as_it_was_byte_for_byte(shop: Functions, client: MongoClient[Any]) -> None:
    """Each event of both topics, twice and in any order: the same status, the same event emitted, nothing changed."""
    deliveries = [each for each in kept.deliveries() if not each.refused_for_its_number] * 2
    random.Random(1).shuffle(deliveries)
    for delivery in deliveries:
        answer = await shop.deliver(delivery.function, headers_of(delivery.event), delivery.event.data or b"")
        assert answer.status == delivery.status, (delivery, answer)
        assert shop.emitted() == delivery.emitted
    assert len(deliveries) > 200
    assert kept.stored(client) == kept.saved()


async def test_every_old_call_is_answered_as_it_was_byte_for_byte(shop: Functions, client: MongoClient[Any]) -> None:
    """Reads, and all that had been done once more: old keys, baskets and attempts; wrong sums are refused again."""
    calls = list(kept.calls())
    for call in calls:
        answer = await shop.call(call.function, call.method, call.path, call.fields, call.headers)
        assert answer.status == call.status, (call, answer)
        assert answer.headers.get("Idempotent-Replayed") == call.replayed
        if call.status == 200:
            assert _known_then(call.path, answer.body) == call.body
        else:  # the words of a refusal may become better ones, and it has a code by now
            assert json.loads(answer.body).keys() - json.loads(call.body).keys() == {"code"}
            assert json.loads(answer.body)["status"] is False
        assert shop.emitted() == call.emitted
    assert len(calls) > 250
    assert kept.stored(client) == kept.saved()


async def test_what_was_ordered_is_asked_for_and_paid(shop: Functions, client: MongoClient[Any]) -> None:
    """Two baskets that 67d5614 left on their way, one at its second attempt: resend asks for both."""
    client.orders.baskets.update_many({"status": "ordered"}, [{"$set": {"resend_at": "$$NOW"}}])
    assert (await shop.deliver("resend_orders", TICK, b"")).status == 200
    assert await shop.settle() == []
    found = books.wrong(client)
    assert "ordered" not in found
    assert "ordered again" not in found
    assert (await shop.account("ordered"))["balance"] == 100 - 5 - 25
    assert (await shop.account("ordered again"))["balance"] == 80 + 20 - 90
