"""`orders dlq`: what died is shown with its reason, and redriven to the one consumer that failed, boundedly."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64
from pymongo import AsyncMongoClient

from local.stack import Stack
from operate import letters
from operate.deliver import RETRIES, Answer, Target
from operate.places import find
from operate.running import RunningShop
from shop.schema.events_pb2 import PaymentRequested
from tests.operate.command import Orders, Run
from tests.operate.conftest import Bug, Customer
from tests.support.stack_fixtures import eventually
from wire.delivery import DeliverySpec
from wire.event import Event

Sent = list[tuple[str, Event]]


async def die(orders: Orders, customer: Customer, times: int) -> None:
    """Order so often while notify_handler refuses, and wait for the dead letters."""
    await customer.deposit(1000)
    for _ in range(times):
        await customer.settle(10)

    async def dead() -> bool:
        return len(await waiting(orders, customer)) == times

    await eventually(dead)


async def waiting(orders: Orders, customer: Customer) -> list[Any]:
    """Return the groups' letters of this customer that wait for somebody, one entry each."""
    groups = (await listed(orders, customer)).json
    return [group for group in groups for _ in range(group["waiting"])]


def of(customer: Customer) -> tuple[str, str]:
    """Choose the letters of this customer."""
    return "--where", f"user={customer.user}"


async def listed(orders: Orders, customer: Customer) -> Run:
    """List the letters of this customer."""
    return await orders("dlq", "list", *of(customer), "--json")


Send = Callable[[Event], Awaitable[Answer]]
Watch = Callable[[Send, str, Event], Awaitable[Answer]]
"""What stands between the command and what it sends to, at a URL."""


class Watched(Target):
    """A target whose events go through somebody's hands."""

    watch: Watch

    async def send(self, event: Event) -> Answer:
        """Hand the event over, and how to send it."""
        return await self.watch(super().send, self.url, event)


def watched(orders: Orders, watch: Watch, retries: DeliverySpec = RETRIES) -> Orders:
    """Return the command with somebody between it and what it sends to."""

    class Shop(RunningShop):
        def target(self, url: str) -> Target:
            target = Watched(url, retries=retries)
            target.watch = watch
            return target

    return orders.opened(Shop)


HASTY = DeliverySpec(retry=3, backoff_delay_s=0.01)


@pytest.fixture
def sent() -> Sent:
    """Return what was sent, and where to."""
    return []


@pytest.fixture
def noting(sent: Sent) -> Watch:
    """Note what is sent."""

    async def note(send: Send, url: str, event: Event) -> Answer:
        sent.append((url, event))
        return await send(event)

    return note


@pytest.fixture
def orders(orders: Orders, noting: Watch) -> Orders:
    """Run `orders` against the stack, and note what it sends."""
    return watched(orders, noting)


async def test_letters_are_grouped_by_consumer_and_reason(orders: Orders, customer: Customer, bug: Bug) -> None:
    """Ids in a reason do not make another group; text and JSON say the same."""
    bug.deploy()
    await die(orders, customer, 3)
    (group,) = (await listed(orders, customer)).json
    assert (group["consumer"], group["code"], group["letters"], group["waiting"]) == ("notify-handler", "422", 3, 3)
    assert group["error"] == "impossible_value"
    assert group["reason"] == "cannot notify of basket …: no template …"
    run = await orders("dlq", "list", *of(customer), "--since", "1h")
    assert "notify-handler  422" in run.out
    run = await orders("dlq", "list", *of(customer), "--where", "reason~no such words")
    assert run.out == "no dead letters\n"


async def test_show_tells_all_of_a_letter(orders: Orders, customer: Customer, bug: Bug) -> None:
    """Its data, its reason and what has become of it; by the event's id and by its place."""
    bug.deploy()
    await die(orders, customer, 1)
    basket = (await customer.call("GET", "/GetUser"))["paid_baskets"][0]["basket"]
    (letter,) = (await orders("dlq", "show", f"{basket}.1", "--json")).json
    assert letter["error"] == "impossible_value"
    assert letter["reason"] == f"impossible_value: cannot notify of basket {basket}: no template 'v2'"
    assert letter["data"]["user"] == customer.user
    assert letter["state"] == "waiting"
    assert (await orders("dlq", "show", letter["place"])).out.startswith(
        "consumer   notify-handler\nstate      waiting"
    )
    assert (
        "dead letter of notify-handler: 422 impossible_value: cannot notify"
        in (await orders("event", "show", basket)).out
    )
    assert (await orders("dlq", "show", "0/999999")).code == 1


async def test_a_redriven_letter_reaches_the_consumer_that_failed_and_no_other(
    orders: Orders, customer: Customer, bug: Bug, stack: Stack, sent: Sent
) -> None:
    """The same event under the same id; it has healed then, and is not redriven again."""
    bug.deploy()
    await die(orders, customer, 3)
    bug.fix()
    run = await orders("dlq", "redrive", *of(customer), "--dry-run")
    assert run.out == "would redrive 3 to notify-handler\n"
    assert sent == []
    run = await orders("dlq", "redrive", *of(customer), "--json")
    assert run.code == 0
    assert run.json == {"delivered": 3, "refused": 0, "parked": 0, "left": 0, "outdated": 0, "reasons": {}}
    events = [event for url, event in sent if url != stack.sink_url("dead-letters")]
    assert {url for url, _ in sent} == {stack.sink_url("dead-letters"), stack.function_url("notify-handler")}
    assert [event.text("replaycount") for event in events] == ["1"] * 3
    assert not any(name.startswith("knative") for event in events for name in event.attributes)
    assert len(await customer.notifications()) == 3
    (group,) = (await listed(orders, customer)).json
    assert (group["letters"], group["healed"], group["waiting"]) == (3, 3, 0)
    assert (await orders("dlq", "redrive", *of(customer))).out.startswith("0 delivered")


async def test_no_more_letters_are_redriven_than_max_says(
    orders: Orders, customer: Customer, bug: Bug, stack: Stack, sent: Sent
) -> None:
    """The first ones; the others wait, whole and uncounted."""
    bug.deploy()
    await die(orders, customer, 3)
    bug.fix()
    run = await orders("dlq", "redrive", *of(customer), "--max", 2, "--json")
    assert (run.code, run.json["delivered"], run.json["left"]) == (0, 2, 0)
    assert [url for url, _ in sent].count(stack.function_url("notify-handler")) == 2
    assert sorted((one.state, one.replays) for one in letters_of(stack, customer)) == [
        ("healed", 1),
        ("healed", 1),
        ("waiting", 0),
    ]


async def test_an_interrupted_redrive_goes_on_and_counts_what_it_had_begun(
    orders: Orders, customer: Customer, bug: Bug, stack: Stack
) -> None:
    """Killed after counting and after delivering: every letter arrives, none more often than the guard allows."""
    bug.deploy()
    await die(orders, customer, 6)
    bug.fix()
    arrived: Counter[str] = Counter()
    steps = 0

    class Killed(BaseException):
        pass

    async def kill(send: Send, url: str, event: Event) -> Answer:
        nonlocal steps
        answer = await send(event)
        if url == stack.function_url("notify-handler"):
            arrived[event.text("id")] += 1
        steps += 1
        if steps in (
            3,
            7,
            12,
            14,
        ):  # once a count is stored, once an event delivered, and so on
            raise Killed
        return answer

    for _ in range(4):
        with pytest.raises(Killed):
            await watched(orders, kill)("dlq", "redrive", *of(customer), "--max-replays", 2, "--concurrency", 1)
    assert (await orders("dlq", "redrive", *of(customer), "--max-replays", 2)).code == 0
    assert await waiting(orders, customer) == []
    assert len(await customer.notifications()) == 6
    assert set(arrived.values()) == {1}
    assert max(letter.replays for letter in letters_of(stack, customer)) == 2


async def test_a_replay_that_was_counted_and_perhaps_not_made_counts(
    orders: Orders, customer: Customer, bug: Bug, stack: Stack
) -> None:
    """Killed after the last count was stored: whether the event was sent is unknown, so it is parked, not sent.

    Somebody must know of it: it was parked undelivered, and that is not exit code 0.
    """
    bug.deploy()
    await die(orders, customer, 1)
    bug.fix()

    class Killed(BaseException):
        pass

    async def kill(send: Send, _: str, event: Event) -> Answer:
        await send(event)
        raise Killed

    with pytest.raises(Killed):
        await watched(orders, kill)("dlq", "redrive", *of(customer), "--max-replays", 1)
    run = await orders("dlq", "redrive", *of(customer), "--max-replays", 1, "--json")
    assert (run.code, run.json["parked"], run.json["delivered"]) == (1, 1, 0)
    assert await customer.notifications() == []


async def test_a_letter_that_is_refused_again_and_again_is_parked(
    orders: Orders, customer: Customer, bug: Bug, sent: Sent, stack: Stack
) -> None:
    """The guard is in the topic, whoever redrives; and a parked letter can be redriven on purpose."""
    bug.deploy()
    await die(orders, customer, 1)
    outcomes = [await orders("dlq", "redrive", *of(customer), "--max-replays", 2, "--json") for _ in range(4)]
    assert [run.code for run in outcomes] == [1, 1, 0, 0]
    assert [run.json["refused"] for run in outcomes] == [1, 1, 0, 0]
    assert [run.json["parked"] for run in outcomes] == [0, 1, 0, 0]
    assert Counter(url for url, _ in sent)[stack.function_url("notify-handler")] == 2
    (letter,) = letters_of(stack, customer)
    assert (letter.state, letter.parked, letter.replays) == ("parked", "refused 2 times", 2)
    bug.fix()
    run = await orders("dlq", "redrive", *of(customer), "--parked", "--json")
    assert (run.code, run.json["delivered"]) == (0, 1)
    (letter,) = letters_of(stack, customer)
    assert letter.state == "healed"


def letters_of(stack: Stack, customer: Customer) -> list[letters.Letter]:
    """Return the letters of this customer as the topic has them."""
    found = RunningShop(find({"LOCAL_DIR": str(stack.folder)})).letters()
    return [letter for letter in found if letter.about is not None and letter.about.user == customer.user]


async def test_a_consumer_that_is_unwell_is_left_in_peace(
    orders: Orders, customer: Customer, bug: Bug, stack: Stack, sent: Sent, noting: Watch
) -> None:
    """The first "later" ends the redrive of its letters: an outage is not amplified, and they wait."""
    orders = watched(orders, noting, HASTY)
    bug.deploy()
    await die(orders, customer, 4)
    bug.deploy("later")
    run = await orders("dlq", "redrive", *of(customer), "--concurrency", 1, "--json")
    assert run.code == 1
    assert run.json["left"] == 4
    assert run.json["reasons"] == {"sink_unavailable: the mail server is down": 1}
    assert [url for url, _ in sent].count(stack.function_url("notify-handler")) == 1
    assert len(await waiting(orders, customer)) == 4
    bug.fix()
    assert (await orders("dlq", "redrive", *of(customer))).code == 0


async def test_a_try_that_was_answered_later_is_no_refusal(
    orders: Orders, customer: Customer, bug: Bug, stack: Stack, noting: Watch
) -> None:
    """Five redrives during an outage, and the letter still waits; refused so often, it is parked, exit code 1."""
    orders = watched(orders, noting, HASTY)
    bug.deploy()
    await die(orders, customer, 1)
    bug.deploy("later")
    for _ in range(4):
        run = await orders("dlq", "redrive", *of(customer), "--json")
        assert (run.code, run.json["left"], run.json["parked"]) == (1, 1, 0)

    async def cut(send: Send, url: str, event: Event) -> Answer:
        """Not answered at all, as of a consumer that is gone."""
        away = url == stack.function_url("notify-handler")
        return Answer(None, "connection reset", 4) if away else await send(event)

    assert (await watched(orders, cut)("dlq", "redrive", *of(customer), "--json")).json["left"] == 1
    (letter,) = letters_of(stack, customer)
    assert (letter.state, letter.replays, letter.later, letter.refusals) == ("waiting", 5, 5, 0)
    bug.deploy()
    runs = [await orders("dlq", "redrive", *of(customer), "--json") for _ in range(3)]
    assert [(run.code, run.json["refused"], run.json["parked"]) for run in runs] == [(1, 1, 0), (1, 1, 0), (1, 1, 1)]
    (letter,) = letters_of(stack, customer)
    assert (letter.state, letter.parked) == ("parked", "refused 3 times")
    bug.fix()
    assert (await orders("dlq", "redrive", *of(customer), "--parked", "--json")).json["delivered"] == 1


async def test_a_letter_from_before_the_restore_is_left_alone(
    orders: Orders, customer: Customer, bug: Bug, stack: Stack, sent: Sent
) -> None:
    """Listed apart, not waiting, and never sent: its consumer would refuse it again. That is no failure."""
    bug.deploy()
    await die(orders, customer, 2)
    bug.fix()
    restored = {"epoch": Int64(1), "restored_at": datetime(2026, 11, 26, 20, 0, tzinfo=UTC)}
    async with AsyncMongoClient[Any](stack.mongodb_uri) as mongo:
        await mongo.notify.meta.replace_one({"_id": "epoch"}, restored, upsert=True)
        try:
            (group,) = (await listed(orders, customer)).json
            run = await orders("dlq", "redrive", *of(customer), "--json")
            dry = await orders("dlq", "redrive", *of(customer), "--dry-run")
            basket = (await customer.call("GET", "/GetUser"))["paid_baskets"][0]["basket"]
            (shown,) = (await orders("dlq", "show", f"{basket}.1", "--json")).json
        finally:
            await mongo.notify.meta.delete_one({"_id": "epoch"})
    assert (group["outdated"], group["waiting"]) == (2, 0)
    assert (run.code, run.json["delivered"], run.json["outdated"], sent) == (0, 0, 2, [])
    said = "2 skipped: emitted before the restore of 2026-11-26T20:00:00Z; open orders are requested again\n"
    assert run.err.endswith(said)
    assert dry.err.endswith(said)
    assert dry.out == "would redrive nothing\n"
    assert shown["state"] == "outdated: of epoch 0, and the database is of epoch 1, restored at 2026-11-26T20:00:00Z"
    assert (await orders("dlq", "redrive", *of(customer), "--json")).json["delivered"] == 2


async def test_a_contradiction_does_not_heal_and_can_be_parked(
    orders: Orders, customer: Customer, stack: Stack
) -> None:
    """A decision with another sum than was ordered: settled since, and yet not that."""
    await customer.deposit(100)
    basket = await customer.order(10)
    await forge(stack, customer.user, basket)

    async def dead() -> bool:
        return len(await waiting(orders, customer)) == 1

    await eventually(dead)
    run = await orders("dlq", "park", *of(customer), "--reason", "forged", "--dry-run")
    assert run.out == "would park 1\n"
    assert (await orders("dlq", "park", *of(customer), "--reason", "forged")).out == "parked 1\n"
    (letter,) = letters_of(stack, customer)
    assert (letter.consumer, letter.state, letter.parked) == ("billing-handler", "parked", "forged")
    assert "ordered for 11, but decided for 10" in letter.reason
    await forge(stack, customer.user, basket)

    async def dead_again() -> bool:
        return letters_of(stack, customer)[0].times == 2

    await eventually(dead_again)
    assert await waiting(orders, customer) == []
    assert (await orders("dlq", "redrive", *of(customer))).out.startswith("0 delivered")


async def forge(stack: Stack, user: str, basket: str) -> None:
    """Put a request for another sum into the topic."""
    ordered_at = datetime(2026, 1, 1, tzinfo=UTC)
    about = PaymentRequested(user=user, basket=basket, number=1, attempt=1, sum=11, ordered_at=ordered_at)
    attributes = {
        "specversion": "1.0",
        "id": f"{basket}.1",
        "source": "/orders",
        "type": "shop.events.v1.PaymentRequested",
        "datacontenttype": "application/protobuf",
    }
    forged = Event(attributes, about.SerializeToString())
    async with Target(stack.sink_url("payments")) as target:
        assert (await target.send(forged)).accepted


def test_a_forged_letter_is_not_taken_for_the_honest_one_of_the_same_id() -> None:
    """Parking the one leaves the other to be redriven."""
    attributes = {"specversion": "1.0", "id": "1", "source": "/orders", "type": "x", "knativeerrordest": "http://x"}
    honest, again, forged = (
        letters.Letter.of(Event({**attributes, **more}, data), find({}), datetime.now(UTC))
        for data, more in [(b"10", {}), (b"10", {"replaycount": "1"}), (b"11", {})]
    )
    assert honest.key == again.key
    assert honest.key != forged.key


async def test_wrong_use_is_exit_code_2(orders: Orders) -> None:
    """A condition that is none; a reason that no attribute can carry."""
    assert (await orders("dlq", "list", "--where", "colour=red")).code == 2
    assert (await orders("dlq", "list", "--where", "consumer")).code == 2
    assert (await orders("dlq", "park", "--reason", "Unfug, größter")).code == 2
