"""Timers tick as Knative's do: at whole minutes, with its events, retries and losses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from local.manifests import PingSource, Ref
from local.stand_ins.ping_source import PingTimer
from local.stand_ins.schedule import Schedule

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

Headers = dict[str, str]


@asynccontextmanager
async def function(*statuses: int) -> AsyncIterator[tuple[int, list[Headers]]]:
    """Serve a function that answers these, the last one again and again; 0 closes the connection instead."""
    received: list[Headers] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # a timer that is stopped drops what is under way
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            assert first == "POST / HTTP/1.1"
            received.append(dict(line.split(": ", 1) for line in lines if line))
            status = statuses[min(len(received), len(statuses)) - 1]
            if status:
                writer.write(f"HTTP/1.1 {status} .\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


class Time:
    """A clock that only sleeping moves."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.slept.append(round(seconds, 3))
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def timer(port: int, time: Time, schedule: str = "* * * * *", report: Callable[[str], None] = print) -> PingTimer:
    """Return a timer on its own clock."""
    source = PingSource("shop", "resend-orders", Schedule.parse(schedule), Ref("Service", "shop", "resend-orders"))
    return PingTimer(source, port, report, clock=lambda: time.now, sleep=time.sleep)


async def test_a_tick_is_an_event_without_data() -> None:
    """The event is the one Knative's adapter sends."""
    async with function(200) as (port, received):
        assert await timer(port, Time(NOON)).tick() == 200
    (headers,) = received
    assert headers.pop("ce-id")
    assert {name: headers[name] for name in headers if name.startswith("ce-")} == {
        "ce-specversion": "1.0",
        "ce-type": "dev.knative.sources.ping",
        "ce-source": "/apis/v1/namespaces/shop/pingsources/resend-orders",
        "ce-time": "2026-11-22T12:00:00Z",
    }
    assert headers["Content-Length"] == "0"


async def test_two_ticks_are_two_events() -> None:
    """Each tick has an id of its own."""
    async with function(200) as (port, received):
        ticking = timer(port, Time(NOON))
        await ticking.tick()
        await ticking.tick()
    assert received[0]["ce-id"] != received[1]["ce-id"]


@pytest.mark.parametrize("status", [404, 413, 425, 429, 502, 503, 504, 0])
async def test_what_may_pass_is_retried_with_the_same_event(status: int) -> None:
    """A busy function gets the tick a little later, and so does one that closed the connection."""
    time = Time(NOON)
    async with function(status, status, 200) as (port, received):
        assert await timer(port, time).tick() == 200
    assert len({headers["ce-id"] for headers in received}) == 1
    assert time.slept == [0.1, 0.2]


async def test_five_retries_are_the_last() -> None:
    """A tick that nobody took is lost, and said to be."""
    time, said = Time(NOON), list[str]()
    async with function(503) as (port, received):
        assert await timer(port, time, report=said.append).tick() == 503
    assert len(received) == 6
    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert "the tick is lost" in said[0]


@pytest.mark.parametrize("status", [400, 422, 500, 501])
async def test_other_failures_lose_the_tick_at_once(status: int) -> None:
    """Knative's adapter does not retry these, not even 500."""
    said: list[str] = []
    async with function(status) as (port, received):
        assert await timer(port, Time(NOON), report=said.append).tick() == status
    assert len(received) == 1
    assert "the tick is lost" in said[0]


async def test_a_function_that_is_down_loses_the_tick() -> None:
    """Without any answer there is no status."""
    async with function(200) as (port, _):
        pass
    said: list[str] = []
    assert await timer(port, Time(NOON), report=said.append).tick() is None
    assert "the tick is lost" in said[0]


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- the condition is another task's
            await asyncio.sleep(0)


async def test_it_ticks_at_the_whole_minutes_of_its_schedule() -> None:
    """From 12:00:30 on, `*/2` ticks at 12:02 and 12:04, and at no minute between."""
    time = Time(NOON + timedelta(seconds=30))
    async with function(200) as (port, received):
        ticking = timer(port, time, "*/2 * * * *")
        ticking.start()
        await until(lambda: len(received) >= 2)
        await ticking.stop()
    assert time.slept[:3] == [30, 60, 60]


async def test_nothing_ticks_after_stop() -> None:
    """Stopping drops what is under way, so nothing is left running."""
    before = asyncio.all_tasks()

    async def never(_: float) -> None:
        await asyncio.Event().wait()

    sleep: Callable[[float], Awaitable[None]] = never
    source = PingSource("shop", "resend-orders", Schedule.parse("* * * * *"), Ref("Service", "shop", "resend-orders"))
    ticking = PingTimer(source, 1, print, sleep=sleep)
    ticking.start()
    assert asyncio.all_tasks() > before
    await ticking.stop()
    assert asyncio.all_tasks() == before
