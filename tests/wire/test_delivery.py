"""An event is delivered as the real KafkaSource does it: what is repeated, how often, and what a dead letter says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.sink import CLOSE, Sink
from wire.delivery import DeliverySpec, Sender, UndeliveredError, dead_letter, duration_s, is_retried
from wire.event import Event
from wire.http import Response

EVENT = Event({"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}, b"data")


@asynccontextmanager
async def sending(*answers: int) -> AsyncIterator[tuple[Sender, Sink]]:
    """Send to a sink that answers so, with three retries and hardly a wait."""
    async with Sink(answers=list(answers)) as sink:
        sender = Sender(sink.url, "shop", DeliverySpec(retry=3, backoff_delay_s=0.001))
        yield sender, sink
        sender.close()


@pytest.mark.parametrize("status", [None, 404, 408, 409, 429, 500, 502, 503, 504, 599])
def test_what_may_be_over_soon_is_tried_again(status: int | None) -> None:
    """No answer, and these: the function, or what it needs, may be back."""
    assert is_retried(status)


@pytest.mark.parametrize("status", [300, 302, 303, 400, 401, 403, 405, 410, 413, 415, 422, 425, 499])
def test_what_is_refused_is_not_tried_again(status: int) -> None:
    """Redirections among it."""
    assert not is_retried(status)


@pytest.mark.parametrize(("answers", "times"), [([], 1), ([200], 1), ([299], 1), ([503, 429, CLOSE, 202], 4)])
async def test_how_often_it_was_sent_is_told_when_it_is_taken(answers: list[int], times: int) -> None:
    """The same bytes each time."""
    async with sending(*answers) as (sender, sink):
        assert await sender.send(EVENT, []) == times
        assert [each.body for each in sink.received] == [b"data"] * times


@pytest.mark.parametrize(
    ("answers", "status", "attempts"),
    [
        ([503] * 4, 503, 4),
        ([503, CLOSE, CLOSE, CLOSE], None, 4),
        ([429, 422], 422, 2),
        ([422], 422, 1),
        ([303], 303, 1),
        ([300], 300, 1),
    ],
)
async def test_the_last_answer_ends_it(answers: list[int], status: int | None, attempts: int) -> None:
    """The retries are used up, or it was refused: nothing more is sent."""
    async with sending(*answers) as (sender, sink):
        with pytest.raises(UndeliveredError) as failure:
            await sender.send(EVENT, [])
        response = failure.value.response
        assert (response.status if response else None, failure.value.attempts) == (status, attempts)
        assert len(sink.received) == attempts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT0.25S", 0.2), ("PT0.05S", 0), ("PT1M0.5S", 60.5), ("P1DT1H", 90_000), ("PT0,3S", 0.3), ("P2W", 1_209_600)],
)
def test_durations_keep_tenths(text: str, seconds: float) -> None:
    """Each number of a duration is cut to one decimal."""
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "P", "PT", "1S", "PT1", "P1S", "PT-1S"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A mistake in a manifest is not read as some other time."""
    with pytest.raises(ValueError, match="not an ISO 8601 duration"):
        duration_s(text)


def test_delivery_absent_and_empty_are_not_the_same() -> None:
    """Without spec.delivery there are 10 retries; with an empty one there are none."""
    assert DeliverySpec.from_manifest(None) == DeliverySpec(10, linear=False, backoff_delay_s=0.3, timeout_s=600)
    assert DeliverySpec.from_manifest({}) == DeliverySpec(0, linear=False, backoff_delay_s=0.2, timeout_s=600)
    assert DeliverySpec.from_manifest({"retry": 2, "timeout": "PT0S"}).timeout_s == 600


def test_waits_double_or_add_up() -> None:
    """The wait before retry n is delay * 2^n, or delay * n when linear."""
    assert [DeliverySpec(backoff_delay_s=0.1).wait_s(retry) for retry in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert [DeliverySpec(backoff_delay_s=1, linear=True).wait_s(retry) for retry in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize(("attribute", "baggage"), [("a\nb", "x"), ("x", "a\nb")])
async def test_a_control_character_is_never_sent(attribute: str, baggage: str) -> None:
    """No request is made of an event that has one, in an attribute or in what is passed on with the trace."""
    event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": attribute}, None)
    async with sending() as (sender, sink):
        with pytest.raises(UndeliveredError, match="control character"):
            await sender.send(event, [("baggage", baggage)])
        assert sink.received == []


def test_a_dead_letter_names_the_error_above_what_the_answer_says() -> None:
    """Kne- headers may replace any attribute, but not the data of the answer."""
    event = Event({"specversion": "0.3", "id": "1", "source": "/s", "type": "t", "schemaurl": "/v1"}, None)
    headers = [("kne-knativeerrorcode", "1"), ("kne-knativeerrordata", "x"), ("kne-id", "2")]
    letter = dead_letter(event, "http://there/", Response(422, headers, b"no"))
    assert letter.attributes == {
        "specversion": "1.0",
        "id": "2",
        "source": "/s",
        "type": "t",
        "dataschema": "/v1",
        "knativeerrordest": "http://there/",
        "knativeerrorcode": "1",
        "knativeerrordata": "bm8=",
    }
