"""Events of before a restore are known by their epoch: counted, and left out unless they are asked for."""

import base64
from collections.abc import Sequence
from pathlib import Path

import pytest
from bson import Int64

from local.servers.mongodb import Mongod
from shop.messages import event_id
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from shop.store.client import collection
from tests.operate.command import Orders, write
from tests.support.sink import Sink

Kind = type[PaymentRequested] | type[PaymentDecided]


def of_epochs(file: Path, epochs: Sequence[int], kind: Kind = PaymentRequested) -> None:
    """Write a recording of events, each of another basket, of these epochs."""
    events = []
    for number, epoch in enumerate(epochs, 1):
        about = kind(user="Ann", basket=f"{number:024x}", number=number, attempt=1, sum=5, epoch=epoch)
        attributes = {
            "specversion": "1.0",
            "id": event_id(about),
            "source": "/orders",
            "type": kind.DESCRIPTOR.full_name,
        }
        data = base64.b64encode(about.SerializeToString(deterministic=True)).decode()
        events.append({**attributes, "subject": about.basket, "data_base64": data})
    write(file, *events)


def delivered(sink: Sink) -> list[int]:
    """Return the epochs of what a sink was sent."""
    return [PaymentRequested.FromString(each.body).epoch for each in sink.received]


@pytest.fixture
async def restored(shop: None, mongod: Mongod) -> None:
    """Have all three databases in epoch 2."""
    for service in ("orders", "billing", "notify"):
        await in_epoch(service, 2)


async def in_epoch(service: str, epoch: int) -> None:
    """Have one database in an epoch."""
    update = [{"$set": {"epoch": Int64(epoch), "restored_at": "$$NOW"}}]
    await collection(service, "meta").update_one({"_id": "epoch"}, update, upsert=True)


@pytest.fixture
def orders(mongod: Mongod, tmp_path: Path) -> Orders:
    """Run `orders` against MongoDB alone."""
    return Orders({"MONGODB_URI": mongod.uri, "LOCAL_DIR": str(tmp_path / "none")})


LEFT_OUT = (
    "3 of 5 events are of an older epoch than 2, emitted before the databases were restored: "
    "every consumer refuses them"
)


async def test_what_is_sent_again_is_of_this_epoch(restored: None, orders: Orders, file: Path) -> None:
    """Before anything is sent it is said how many are not; counted in text and JSON."""
    of_epochs(file, [0, 2, 1, 2, 0])
    async with Sink() as sink:
        run = await orders("event", "send", file, "--to-url", sink.url, "--times", 2, "--json")
        assert (run.code, run.json["sent"], run.json["older_epoch"]) == (0, 4, 3)
        assert f"{LEFT_OUT}; they are left out, unless --all-epochs is given" in run.err.splitlines()
        assert delivered(sink) == [2, 2, 2, 2]
        run = await orders("event", "send", file, "--to-url", sink.url)
        assert run.out.splitlines() == [
            f"sent 2 events again to {sink.url}: 2 answered 200",
            "skipped 3 events of an older epoch",
        ]


async def test_what_is_replayed_is_of_this_epoch(restored: None, orders: Orders, file: Path) -> None:
    """Nor may what is left out be waited for, doubled or compared."""
    of_epochs(file, [0, 2, 1, 2, 0])
    replay = ("replay", file, "--wait", "0s", "--twice", "--expect-noop")
    async with Sink() as sink:
        run = await orders(*replay, "--to-url", sink.url, "--json")
        assert (run.code, run.json["events"], run.json["deliveries"], run.json["older_epoch"]) == (0, 5, 4, 3)
        assert f"{LEFT_OUT}; they are left out, unless --all-epochs is given" in run.err.splitlines()
        assert delivered(sink) == [2, 2, 2, 2]
        run = await orders(*replay, "--to-url", sink.url)
        assert "skipped 3 events of an older epoch" in run.out.splitlines()
        run = await orders(*replay, "--to-url", sink.url, "--dry-run")
        assert "would deliver 4 of 5 events" in run.out
        assert "skipped 3 events of an older epoch" in run.out.splitlines()


async def test_they_are_sent_when_that_is_asked_for(restored: None, orders: Orders, file: Path) -> None:
    """To see that they are refused, for example; counted all the same."""
    of_epochs(file, [0, 2, 1, 2, 0])
    async with Sink() as sink:
        run = await orders("event", "send", file, "--to-url", sink.url, "--all-epochs", "--concurrency", 1, "--json")
        assert (run.code, run.json["sent"], run.json["older_epoch"]) == (0, 5, 3)
        assert f"{LEFT_OUT}; they are sent all the same" in run.err.splitlines()
        assert delivered(sink) == [0, 2, 1, 2, 0]
    async with Sink() as sink:
        run = await orders("replay", file, "--wait", "0s", "--to-url", sink.url, "--all-epochs", "--json")
        assert (run.json["deliveries"], run.json["older_epoch"], len(sink.received)) == (5, 3, 5)


async def test_before_the_first_restore_nothing_is_said(shop: None, orders: Orders, file: Path) -> None:
    """All events are of epoch 0, and so are the databases."""
    of_epochs(file, [0, 0])
    async with Sink() as sink:
        run = await orders("event", "send", file, "--to-url", sink.url)
    assert (run.code, "epoch" in run.err + run.out, len(sink.received)) == (0, False, 2)


async def test_nothing_but_events_of_an_older_epoch_is_nothing_to_send(
    restored: None, orders: Orders, file: Path
) -> None:
    """Exit code 2: it is no success to have sent nothing."""
    of_epochs(file, [0, 1])
    async with Sink() as sink:
        for verb in (["event", "send", file], ["replay", file, "--wait", "0s"]):
            run = await orders(*verb, "--to-url", sink.url)
            assert (run.code, "is left to send" in run.err, sink.received) == (2, True, [])


async def test_events_of_a_newer_epoch_are_said_to_be_taken_by_nobody_yet(
    restored: None, orders: Orders, file: Path
) -> None:
    """They are answered "later", so they are sent: the databases may be about to follow."""
    of_epochs(file, [3, 2])
    async with Sink() as sink:
        run = await orders("event", "send", file, "--to-url", sink.url, "--json")
    assert (run.code, run.json["sent"], run.json["older_epoch"]) == (0, 2, 0)
    assert "1 of 2 events are of a newer epoch than 2: no consumer takes them yet" in run.err


async def test_each_consumer_goes_by_its_own_database(
    restored: None, orders: Orders, file: Path, mongod: Mongod
) -> None:
    """Where they differ, which a restore that was not finished leaves, it is said; for a URL the latest counts."""
    await in_epoch("billing", 1)
    async with Sink() as sink:
        elsewhere = Orders({"MONGODB_URI": mongod.uri, "FUNCTION_URL": sink.url + "?{name}"})
        of_epochs(file, [0, 1, 2])
        run = await elsewhere("event", "send", file, "--to", "billing-handler", "--json")
        assert (run.json["sent"], run.json["older_epoch"]) == (2, 1)
        assert "the databases are of different epochs: orders 2, billing 1, notify 2" in run.err
        run = await elsewhere("event", "send", file, "--to-url", sink.url, "--json")
        assert (run.json["sent"], run.json["older_epoch"]) == (1, 2)
        of_epochs(file, [0, 1, 2], PaymentDecided)
        run = await elsewhere("event", "send", file, "--to", "notify-handler", "--json")
        assert (run.json["sent"], run.json["older_epoch"]) == (1, 2)


async def test_new_events_are_of_this_epoch(restored: None, orders: Orders, file: Path) -> None:
    """They are emitted now, whenever the recorded ones were."""
    of_epochs(file, [0, 1, 2])
    async with Sink() as sink:
        run = await orders("event", "send", file, "--to-url", sink.url, "--new", "--json")
    assert (run.code, run.json["sent"], delivered(sink)) == (0, 3, [2, 2, 2])
    assert "epoch" not in run.err


async def test_without_mongodb_it_is_said_that_nothing_is_known_of_epochs(file: Path, tmp_path: Path) -> None:
    """A function can be sent events without its databases; and whoever wants all of them need not be told."""
    of_epochs(file, [0, 1])
    alone = Orders({"LOCAL_DIR": str(tmp_path / "none")})
    async with Sink() as sink:
        run = await alone("event", "send", file, "--to-url", sink.url)
        assert (run.code, len(sink.received)) == (0, 2)
        assert "it is not known which events are from before a restore" in run.err
        run = await alone("event", "send", file, "--to-url", sink.url, "--all-epochs")
        assert (run.code, run.err) == (0, "")
