"""`orders dlq redrive`: what counts as a refusal, what is sent at all, and the exit code; with real sinks, no Kafka."""

import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from operate import places
from operate.epochs import Epoch
from operate.letters import Letter
from operate.running import RunningShop
from shop.schema.events_pb2 import PAID, PaymentDecided
from tests.operate.command import Orders, Run
from tests.support.sink import Received, Sink
from wire.delivery import DeliverySpec
from wire.event import Event

AT = datetime(2026, 1, 1, tzinfo=UTC)
RESTORED = Epoch(1, AT)


def letter(number: int = 1, **state: Any) -> Letter:
    """Return a letter of notify-handler, in this state."""
    content: dict[str, Any] = {"number": 1, "attempt": 1, "sum": 10, "outcome": PAID, "decided_at": AT}
    about = PaymentDecided(user="Pavel", basket=f"{number:024}", **content)
    attributes = {
        "specversion": "1.0",
        "id": f"{about.basket}.1",
        "source": "/billing",
        "type": about.DESCRIPTOR.full_name,
        "datacontenttype": "application/protobuf",
        "knativeerrordest": "http://notify-handler.shop.svc.cluster.local",
        "knativeerrorcode": "422",
    }
    event = Event(attributes, about.SerializeToString())
    return replace(Letter.of(event, places.find({}), AT), **state)


@dataclass
class Desk:
    """The command, the letters that it finds, the consumer, and the topic of dead letters."""

    orders: Orders
    consumer: Sink
    graveyard: Sink
    found: list[Letter] = field(default_factory=list)

    async def redrive(self, *options: object) -> Run:
        """Redrive what is found."""
        return await self.orders("dlq", "redrive", "--concurrency", 1, "--json", *options)

    @property
    def marks(self) -> list[tuple[str, str, str]]:
        """Return what each mark says: replays, how many of them were answered later, why it is parked."""
        return [
            (one.header("ce-replaycount") or "", one.header("ce-replaylater") or "", one.header("ce-parked") or "")
            for one in self.graveyard.received
        ]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Return a desk with no letters, whose consumer takes everything."""
    async with Sink() as consumer, Sink() as graveyard:
        urls = {"FUNCTION_URL": consumer.url, "SINK_URL": graveyard.url}
        orders = Orders({name: url.replace("payments", "{name}") for name, url in urls.items()})
        desk = Desk(orders, consumer, graveyard)

        class Finding(RunningShop):
            def letters(self, _: int | None = None) -> list[Letter]:
                return list(desk.found)

        desk.orders = orders.opened(lambda places, tell: Finding(places, tell, HASTY))
        yield desk


HASTY = DeliverySpec(retry=3, backoff_delay_s=0.001)
LATER = (503,) * 4  # an event is sent four times before it counts as not taken


@pytest.mark.parametrize(
    ("found", "answers", "code", "outcome"),
    [
        ({}, [], 0, {"delivered": 1}),
        ({}, [422], 1, {"refused": 1}),
        ({}, LATER, 1, {"left": 1}),
        ({}, [503, 503, 202], 0, {"delivered": 1}),
        ({"replays": 2}, [422], 1, {"refused": 1, "parked": 1}),
        ({"replays": 3}, [], 1, {"parked": 1}),
        ({"replays": 3, "later": 1}, [], 0, {"delivered": 1}),
        ({"replays": 9, "later": 9}, LATER, 1, {"left": 1}),
        ({"healed": True}, [], 0, {}),
        ({"parked": "forged"}, [], 0, {}),
        ({"restored": RESTORED}, [], 0, {"outdated": 1}),
        ({"restored": RESTORED, "parked": "forged"}, [], 0, {}),
        ({"restored": RESTORED, "healed": True}, [], 0, {}),
    ],
)
async def test_what_becomes_of_a_letter(
    desk: Desk, found: dict[str, Any], answers: Sequence[int], code: int, outcome: dict[str, int]
) -> None:
    """Exit code 0 only when nothing undelivered was parked, refused or left."""
    desk.found, desk.consumer.answers = [letter(**found)], list(answers)
    run = await desk.redrive()
    counts = {name: number for name, number in run.json.items() if name != "reasons" and number}
    assert (run.code, counts) == (code, outcome)
    assert len(desk.consumer.received) == (len(answers) or outcome.get("delivered", 0))


async def test_a_replay_is_counted_before_it_is_sent(desk: Desk) -> None:
    """The topic takes no mark: nothing is sent, for nobody would know of it."""
    desk.found, desk.graveyard.answers = [letter()], [500] * 4
    run = await desk.redrive()
    assert (run.code, desk.consumer.received) == (2, [])


async def test_a_redrive_that_stops_halfway_says_what_became_of_the_letters(desk: Desk) -> None:
    """The topic takes no more marks after the first letter: exit code 2, and one was delivered all the same."""
    desk.found, desk.graveyard.answers = [letter(number) for number in range(3)], [202, *[500] * 4]
    run = await desk.redrive()
    assert (run.code, run.json["delivered"], run.json["stopped"], run.json["letters"]) == (2, 1, True, 3)
    desk.graveyard.answers = [202, *[500] * 4]
    run = await desk.orders("dlq", "redrive", "--concurrency", 1)
    assert (run.code, run.out) == (2, "stopped; of 3 were 1 delivered, 0 refused, 0 parked, 0 left, 0 outdated\n")


async def test_a_refusal_is_noted_with_its_reason_and_the_last_one_parks(desk: Desk) -> None:
    """The count comes first, then what was answered; the mark is the letter once more, under its id."""
    desk.found, desk.consumer.answers = [letter(replays=2)], [422]
    await desk.redrive()
    assert desk.marks == [("3", "0", ""), ("3", "0", "refused 3 times")]
    noted: Received = desk.graveyard.received[-1]
    assert (noted.header("ce-id"), noted.header("ce-knativeerrorcode")) == (f"{1:024}.1", "422")
    assert base64.b64decode(noted.header("ce-knativeerrordata") or "") == b""
    assert noted.body == desk.found[0].event.data


async def test_a_try_that_was_answered_later_is_taken_back(desk: Desk) -> None:
    """It was counted before it was sent; the consumer was unwell, and refused nothing."""
    desk.found, desk.consumer.answers = [letter(replays=2)], list(LATER)
    await desk.redrive()
    assert desk.marks == [("3", "0", ""), ("3", "1", "")]


async def test_the_first_later_leaves_the_other_letters_in_peace(desk: Desk) -> None:
    """They are neither sent nor counted."""
    desk.found, desk.consumer.answers = [letter(number) for number in range(4)], list(LATER)
    run = await desk.redrive()
    assert (run.code, run.json["left"]) == (1, 4)
    assert len(desk.marks) == 2


async def test_a_parked_letter_is_sent_on_purpose_its_count_begun_anew(desk: Desk) -> None:
    """And one of before a restore is not, parked or not."""
    desk.found = [letter(1, parked="refused 3 times", replays=3), letter(2, parked="forged", restored=RESTORED)]
    run = await desk.redrive("--parked")
    assert (run.code, run.json["delivered"], run.json["outdated"]) == (0, 1, 1)
    assert desk.marks == [("1", "0", "")]


async def test_max_replays_and_max_bound_it(desk: Desk) -> None:
    """So many letters, and each so often."""
    desk.found = [letter(number) for number in range(3)]
    assert (await desk.redrive("--max", 2)).json["delivered"] == 2
    desk.found, desk.consumer.answers = [letter()], [422]
    assert (await desk.redrive("--max-replays", 1)).json["parked"] == 1


async def test_the_event_goes_to_its_consumer_as_it_was(desk: Desk) -> None:
    """Without what became of it; how often it was redriven stands beside it."""
    desk.found = [letter(later=1, replays=1)]
    await desk.redrive()
    (sent,) = desk.consumer.received
    assert sent.request_line.split()[1].endswith("/notify-handler")
    assert sent.body == desk.found[0].event.data
    names = {name.lower() for name, _ in sent.headers if name.lower().startswith("ce-")}
    assert names == {"ce-specversion", "ce-id", "ce-source", "ce-type", "ce-replaycount"}


async def test_a_consumer_that_nobody_knows_is_wrong_use(desk: Desk) -> None:
    """Nothing is sent, to the others neither."""
    desk.found = [letter(1), letter(2, consumer="http://elsewhere", known=False)]
    run = await desk.redrive()
    assert (run.code, desk.consumer.received) == (2, [])
    assert "where is http://elsewhere?" in run.err
