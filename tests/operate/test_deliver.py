"""Events are delivered as KafkaSource does: what is retried, how often, and what counts as taken."""

import asyncio
from dataclasses import replace

import pytest

from operate.deliver import RETRIES, Answer, Target, send_all
from operate.errors import NotReachable
from tests.support.sink import Sink
from wire.event import Event

EVENT = Event({"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}, b"data")


@pytest.mark.parametrize("status", [None, 404, 408, 409, 429, 500, 502, 503, 504, 599])
def test_what_kafka_source_tries_again_is_for_later(status: int | None) -> None:
    """No answer, and these: the function, or what it needs, may be back."""
    answer = Answer(status, "", 4)
    assert (answer.later, answer.accepted) == (True, False)


@pytest.mark.parametrize("status", [300, 302, 303, 400, 401, 403, 405, 410, 413, 415, 422, 425, 499])
def test_what_kafka_source_gives_up_is_refused(status: int) -> None:
    """Neither taken nor to be tried again."""
    answer = Answer(status, "", 1)
    assert (answer.later, answer.accepted) == (False, False)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_what_kafka_source_commits_is_accepted(status: int) -> None:
    """Any success."""
    answer = Answer(status, "", 1)
    assert (answer.later, answer.accepted) == (False, True)


@pytest.mark.parametrize("status", [401, 403])
def test_a_sink_that_demands_a_token_is_named_with_who_has_one(status: int) -> None:
    """Eventing's own answer is empty, and would leave an operator alone."""
    with pytest.raises(NotReachable, match=f"{status} Eventing demands a token there.*resend_orders, which has one"):
        Target("http://127.0.0.1:1").insist(Answer(status, "", 1))


@pytest.mark.parametrize(
    ("answers", "answer"),
    [
        ([503, 503, 503, 202], Answer(200, "", 4)),
        ([503] * 4, Answer(503, "", 4)),
        ([429, 422], Answer(422, "", 2)),
    ],
)
async def test_what_was_answered_in_the_end_is_told_and_after_how_many_attempts(
    answers: list[int], answer: Answer
) -> None:
    """One attempt and three retries, as `wire.delivery` makes them."""
    hasty = replace(RETRIES, backoff_delay_s=0.001)
    async with Sink(answers=list(answers)) as sink, Target(sink.url, retries=hasty) as target:
        assert await target.send(EVENT) == answer
        assert len(sink.received) == answer.attempts


def test_the_waits_between_retries_double() -> None:
    """As the manifests have it for KafkaSource, but short: somebody waits for this command."""
    assert [RETRIES.wait_s(retry) for retry in (1, 2, 3)] == [0.2, 0.4, 0.8]


class Noting(Target):
    """A target that takes all, and notes how much of it at once."""

    flying = most = 0

    async def send(self, event: Event) -> Answer:
        """Take it."""
        self.flying += 1
        self.most = max(self.most, self.flying)
        await asyncio.sleep(0)
        self.flying -= 1
        return Answer(200, event.text("id"), 1)


async def test_no_more_are_in_flight_than_was_asked_for() -> None:
    """And each event is sent once, in the order of the file when it is one at a time."""
    events = [EVENT.with_attributes(id=str(number)) for number in range(20)]
    told: list[str] = []
    async with Sink() as sink:
        for concurrency in (1, 7):
            target = Noting(sink.url)
            await send_all(target, events, lambda _, answer: told.append(answer.reason), concurrency=concurrency)
            assert target.most == concurrency
    assert told[:20] == [str(number) for number in range(20)]
    assert len(told) == 40


async def test_nobody_there_is_known_before_anything_is_sent() -> None:
    """Whoever asks for a function that does not run waits for no retries."""
    async with Sink() as sink:
        url = sink.url
    told: list[object] = []
    with pytest.raises(NotReachable, match="nobody answers at"):
        await send_all(Target(url), [EVENT], lambda event, _: told.append(event), concurrency=1)
    assert told == []
