"""shop.emission puts the same bytes on the wire for the same effect, and never waits for long."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import unquote

import pytest

from local.ports import free_port
from shop.emission import emit
from shop.emission import sink as sinks
from shop.errors import Unavailable
from shop.process import context, process
from shop.process.settings import Settings
from shop.schema.events_pb2 import DECLINED, PaymentDecided, PaymentRequested
from tests.support.sink import CLOSE, HANG, Sink

OTHER_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BASKET = "66f0c1d2e3a4b5c6d7e8f901"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def requested(user: str = "Павел") -> PaymentRequested:
    """Return an event of 12:00:00.120 UTC."""
    event = PaymentRequested(user=user, basket=BASKET, number=1, attempt=2, sum=10)
    event.ordered_at.FromMilliseconds(1785585600120)
    return event


def decided() -> PaymentDecided:
    """Return an event of 12:00:00 UTC."""
    event = PaymentDecided(
        user="$balance", basket=BASKET, number=1, attempt=2, sum=10, outcome=DECLINED, reason="insufficient funds"
    )
    event.decided_at.FromSeconds(1785585600)
    return event


@pytest.fixture
async def sink(configure: Callable[..., None]) -> AsyncIterator[Sink]:
    """Listen where K_SINK says."""
    async with Sink() as listening:
        configure(sink=listening.url, event_overrides={})
        yield listening
        await process.current().close()


async def test_a_request_for_payment_is_these_headers_and_its_message(sink: Sink) -> None:
    """Binary mode; the user percent-encoded; a time without zeros at its end; and nothing else."""
    await emit.emit(requested())
    (received,) = sink.received
    host = sink.url.split("/")[2]
    data = requested().SerializeToString(deterministic=True)
    assert received.request_line == "POST /shop/payments HTTP/1.1"
    assert sorted(received.headers) == [
        ("Content-Length", str(len(data))),
        ("Host", host),
        ("ce-id", f"{BASKET}.2"),
        ("ce-partitionkey", "%D0%9F%D0%B0%D0%B2%D0%B5%D0%BB"),
        ("ce-source", "/orders"),
        ("ce-specversion", "1.0"),
        ("ce-subject", BASKET),
        ("ce-time", "2026-08-01T12:00:00.12Z"),
        ("ce-type", "shop.events.v1.PaymentRequested"),
        ("content-type", "application/protobuf"),
    ]
    assert received.body == data


async def test_a_decision_says_billing_and_its_own_time(sink: Sink) -> None:
    """A whole second has no fraction at all."""
    await emit.emit(decided())
    (received,) = sink.received
    assert PaymentDecided.FromString(received.body) == decided()
    assert received.header("ce-type") == "shop.events.v1.PaymentDecided"
    assert received.header("ce-source") == "/billing"
    assert received.header("ce-time") == "2026-08-01T12:00:00Z"
    assert received.header("ce-partitionkey") == "%24balance"


async def test_emissions_of_one_effect_are_equal_byte_for_byte(sink: Sink) -> None:
    """Whoever took two has taken one; the trace is a part of it."""
    await emit.emit(requested())
    await emit.emit(PaymentRequested.FromString(requested().SerializeToString()))
    first, second = sink.received
    assert first == second
    context.traceparent.set(OTHER_TRACE)
    await emit.emit(requested(), TRACE)
    trace = [("traceparent", TRACE), ("ce-traceparent", TRACE)]
    assert sorted(sink.received[2].headers) == sorted([*first.headers, *trace])
    assert sink.received[2].body == first.body
    context.traceparent.set(None)


@pytest.mark.parametrize("user", ["Pavel", "a b", "a/b%c", "😀" * 128, "🏳️‍🌈", "~-._", "\u2028"])
async def test_the_partition_key_is_the_user_in_ascii(sink: Sink, user: str) -> None:
    """One user's events stay on one partition; whoever decodes the key has the user."""
    await emit.emit(requested(user))
    key = sink.received[0].header("ce-partitionkey")
    assert key is not None
    assert key.isascii()
    assert unquote(key) == user
    assert sum(len(name) + len(value) + 4 for name, value in sink.received[0].headers) < 8192  # KafkaSink's limit


async def test_overrides_are_added_to_every_event(sink: Sink, configure: Callable[..., None]) -> None:
    """What a SinkBinding's ceOverrides say."""
    overrides = {"extensions": {"cluster": "eu west", "number7": "7"}}
    configure(event_overrides=Settings.read({"K_CE_OVERRIDES": json.dumps(overrides)}).event_overrides)
    await emit.emit(requested())
    headers = sink.received[0].headers
    assert dict(headers).items() >= {"ce-cluster": "eu west", "ce-number7": "7"}.items()
    assert len(dict(headers)) == len(headers) == 12


async def test_an_event_says_which_epoch_it_is_of(sink: Sink) -> None:
    """From the first restore on; before it the bytes are what they always were."""
    event = requested()
    token = context.epoch.set(2)
    await emit.emit(event)
    context.epoch.reset(token)
    await emit.emit(event)
    second, none = (PaymentRequested.FromString(received.body) for received in sink.received)
    assert (second.epoch, none.epoch) == (2, 0)
    assert sink.received[1].body == event.SerializeToString(deterministic=True)
    assert sink.received[0].header("ce-id") == sink.received[1].header("ce-id")


def test_without_a_sink_there_is_nothing_to_do(configure: Callable[..., None]) -> None:
    """The message says what to apply."""
    configure(sink="")
    with pytest.raises(Unavailable, match="SinkBinding") as refused:
        emit.check()
    assert not refused.value.code.retryable


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_2xx_is_taken(sink: Sink, status: int) -> None:
    """A broker's ingress and a KafkaSink say it differently."""
    sink.answers = [status]
    await emit.emit(requested())
    assert len(sink.received) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 408, 429, 500, 503])
async def test_any_other_status_is_unknown_and_not_tried_again_here(sink: Sink, status: int) -> None:
    """Resend and KafkaSource try again; a redirect is not followed."""
    sink.answers = [status]
    with pytest.raises(Unavailable, match=str(status)) as failed:
        await emit.emit(requested())
    assert failed.value.code.retryable
    assert len(sink.received) == 1


async def test_a_silent_sink_is_given_up_after_two_seconds(sink: Sink) -> None:
    """Whether the event is stored is unknown then."""
    sink.answers = [HANG]
    started = time.monotonic()
    with pytest.raises(Unavailable, match="TimeoutError"):
        await emit.emit(requested())
    assert sinks.TIMEOUT_S <= time.monotonic() - started < sinks.TIMEOUT_S + 3  # the machine may be busy
    await emit.emit(requested())


async def test_a_sink_that_is_not_there_is_unknown(configure: Callable[..., None]) -> None:
    """The message says what happened."""
    configure(sink=f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(Unavailable, match="did not take the event"):
        await emit.emit(requested())


async def test_connections_are_kept(sink: Sink) -> None:
    """Events that follow one another share one."""
    for _ in range(5):
        await emit.emit(requested())
    assert (len(sink.received), sink.connections) == (5, 1)


async def test_a_sink_that_closes_idle_connections_is_not_an_error(sink: Sink) -> None:
    """The event goes on a fresh one, whether the end of the old one was seen in time or not."""
    sink.closes_after_each = True
    for _ in range(20):
        await emit.emit(requested())
    await asyncio.gather(*(emit.emit(requested()) for _ in range(20)))
    assert len(sink.received) == 40


async def test_a_connection_closed_under_a_request_is_tried_once_more(sink: Sink) -> None:
    """Twice is an error like any other."""
    sink.answers = [202, CLOSE]
    await emit.emit(requested())
    await emit.emit(requested())
    assert len(sink.received) == 3
    sink.answers = [CLOSE, CLOSE]
    with pytest.raises(Unavailable, match="closed the connection"):
        await emit.emit(requested())
