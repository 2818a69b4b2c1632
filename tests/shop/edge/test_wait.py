"""A client says how long it waits, and is answered in time, whatever happens while it does."""

import asyncio
import time
from typing import Any

import pytest

from shop.edge.asgi import Request
from shop.edge.wait import ANSWERED_AFTER_S, LONGEST_S, Wait, asked_wait
from shop.errors import Malformed


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], None),
        ([""], None),
        (["wait=5"], 5),
        (["WAIT = 5"], 5),
        (["wait=0"], 0),
        (["wait=20"], LONGEST_S),
        (["wait=21"], LONGEST_S),
        (["wait=" + "9" * 100], LONGEST_S),
        (["wait=" + "9" * 5000], None),
        (["respond-async, wait=5;x=y, handling=lenient"], 5),
        (["respond-async", "wait=5"], 5),
        (["wait=5, wait=7"], 5),
        (["wait=x, wait=7"], None),
        (['x="a, wait=9\\" , wait=8", wait=5'], 5),
        (["wait"], None),
        (["wait="], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=٥"], None),
        (["waits=5, await=6"], None),
    ],
)
def test_the_header_prefer_is_read_as_rfc_7240_says(prefer: list[str], seconds: int | None) -> None:
    """The first `wait` of all counts; what is not understood is ignored; no more than the longest wait is granted."""
    wait = asked_wait(prefer, [])
    assert wait == (None if seconds is None else Wait(seconds, preferred=True))


def test_a_header_that_is_built_to_be_read_slowly_is_not() -> None:
    """A quotation that never ends, 60 KB of it."""
    began = time.monotonic()
    asked_wait(['"' * 20_001, '"' + "\\" * 20_001, '",' * 10_001], [])
    assert time.monotonic() - began < 2


def test_the_query_says_it_more_clearly() -> None:
    """So it counts before the header, which is then not said to be applied."""
    assert asked_wait(["wait=5"], [("user", "Pavel"), ("wait", "7")]) == Wait(7, preferred=False)
    assert asked_wait([], [("wait", "99")]) == Wait(LONGEST_S, preferred=False)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "+1", " 1", "1e1", "٥", "9" * 101])
def test_a_wrong_value_in_the_query_is_refused(text: str) -> None:
    """With what to send in its place, even if the header is right."""
    with pytest.raises(Malformed, match="wait=5"):
        asked_wait(["wait=5"], [("wait", text)])


def test_in_the_query_it_is_sent_once() -> None:
    """Two values are two wishes."""
    with pytest.raises(Malformed, match="twice"):
        asked_wait([], [("wait", "5"), ("wait", "5")])


def client(*, goes_after_s: float = 3600) -> Request:
    """Return the request of a client that goes away after a time; its body was read."""

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(goes_after_s)
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def never() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def waited(
    later: Any, *, seconds: int = 5, request: Request | None = None, since_s: float = 0
) -> tuple[str, float]:
    """Wait, by a request that came some seconds ago; return the answer and how long it took."""
    began = time.monotonic()
    answer = await Wait(seconds, preferred=False).for_(
        later, "known", request or client(), since=time.monotonic() - since_s
    )
    took_s = time.monotonic() - began
    await nothing_is_left()
    return answer, took_s


async def nothing_is_left() -> None:
    """See that, once cancelled tasks have ended, nobody waits for an outcome or for a client any longer."""
    await asyncio.sleep(0.01)
    assert not {"_gone", "never"} & {getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks()}


async def test_what_comes_in_time_is_the_answer() -> None:
    """As soon as it is there."""

    async def later() -> str:
        await asyncio.sleep(0.05)
        return "later"

    answer, took_s = await waited(later)
    assert answer == "later"
    assert took_s < 4


async def test_when_the_time_is_up_the_answer_is_what_is_known() -> None:
    """After the seconds that were asked for."""
    answer, took_s = await waited(never, seconds=1)
    assert answer == "known"
    assert 0.9 < took_s < 4


async def test_nobody_waits_longer_than_serving_lets_a_request_take() -> None:
    """The time that the body and the work took is not there for waiting."""
    answer, took_s = await waited(never, seconds=20, since_s=ANSWERED_AFTER_S - 0.2)
    assert answer == "known"
    assert took_s < 4
    assert (await waited(never, seconds=20, since_s=ANSWERED_AFTER_S + 1))[0] == "known"


async def test_a_client_that_goes_away_is_forgotten() -> None:
    """Its wait ends when it does."""
    answer, took_s = await waited(never, request=client(goes_after_s=0.05))
    assert answer == "known"
    assert took_s < 4


async def test_a_process_that_ends_answers_what_is_known() -> None:
    """Whoever is waited for is cancelled then."""

    async def later() -> str:
        raise asyncio.CancelledError

    assert (await waited(later))[0] == "known"


async def test_what_fails_during_the_wait_is_no_error_of_what_was_done(caplog: pytest.LogCaptureFixture) -> None:
    """The answer is what is known; the log has the trace."""

    async def later() -> str:
        raise ZeroDivisionError

    assert (await waited(later))[0] == "known"
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_a_request_that_is_given_up_waits_no_more() -> None:
    """The server cancels what is still in flight when its time to drain is over."""
    waits = asyncio.create_task(waited(never))
    await asyncio.sleep(0.01)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    await nothing_is_left()
