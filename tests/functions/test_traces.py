"""Spans: what a function did for a message, in the trace of its order, sent without that anybody waits."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bson import ObjectId

from local.ports import free_port
from local.servers.mongodb import Mongod
from shop.process import process, trace
from shop.process.process import Process
from shop.process.settings import Settings, Traces
from shop.process.tracing import HELD, LINKS, Sender, Span, Tracer
from shop.store.client import collection
from tests.functions.conftest import Client
from tests.support.asgi import call
from tests.support.collector import attributes, collecting
from tests.support.processes import shop_serve
from tests.support.sink import HANG, Sink

ROOT = Path(__file__).parents[2]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = TRACE[:-1] + "0"
OTHER_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def spans(client: Client) -> AsyncIterator[list[Span]]:
    """Make spans, and keep them here; the process has a client of its own, which tells of its commands."""
    ended: list[Span] = []
    before = process.current()
    tracer = Tracer(Traces(), before.random_bits, ended.append)
    process.use(Process(before.settings, tracer=tracer))
    yield ended
    await process.current().close()
    process.use(before)


def named(spans: list[Span], name: str) -> list[Span]:
    """Return the spans of this name."""
    return [span for span in spans if span.name == name]


async def test_an_order_is_one_tree(client: Client, spans: list[Span]) -> None:
    """The request, its statement and its emission; each consumer below the request, with its own."""
    await client.user(balance=100)
    basket = await client.basket()
    spans.clear()
    answer = await client.post("/Order", {"user": "Павел", "sum": 10, "basket": basket})
    assert answer.status == 404
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket})
    await client.deliver()
    own = answer.headers["traceparent"]
    its = [span for span in spans if trace.trace_of(span.traceparent) == trace.trace_of(own)]
    (root,) = (span for span in its if span.parent is None)
    assert (root.name, root.kind, root.traceparent) == ("POST create_order", "server", own)
    assert root.attributes["shop.basket"] == basket
    assert (root.attributes["shop.attempt"], root.attributes["shop.outcome"]) == (1, "done")
    consumers = [span for span in its if span.kind == "consumer"]
    assert sorted(span.name for span in consumers) == ["process payments", "process results", "process results"]
    assert {span.parent for span in consumers} == {own}
    assert {span.attributes["shop.outcome"] for span in consumers} == {"paid"}
    for span in its:
        if span.kind in ("client", "producer"):
            (parent,) = (each for each in its if each.traceparent == span.parent)
            assert parent.started_ns <= span.started_ns <= span.ended_ns <= parent.ended_ns
    assert {span.name for span in its if span.parent == own and span.kind == "client"} >= {"findAndModify baskets"}
    assert [span.name for span in its if span.kind == "producer"] == ["send payments", "send results"]
    # The hop before is a link: the emission that brought it.
    sent = {span.name: span.traceparent for span in its if span.kind == "producer"}
    assert all(span.links == [sent[span.name.replace("process", "send")]] for span in consumers)


async def test_no_value_is_told(client: Client, spans: list[Span]) -> None:
    """Neither a customer's name nor a sum is in any span, refused requests included."""
    await client.post("/CreateUser", {"user": "Онегин-7351"})
    await client.post("/DepositCash", {"user": "Онегин-7351", "sum": 735173517351}, idempotency_key="key-7351")
    await client.get("/GetUser", {"user": "Онегин-7351"})
    await client.post("/CreateUser", {"user": "Онегин-7351\n"})
    assert len(spans) > 8
    assert "7351" not in repr([(span.name, span.attributes, span.failed) for span in spans])


async def test_what_is_replayed_or_refused_says_so(client: Client, spans: list[Span]) -> None:
    """A refused request is no failure of the function; a refused event is one, for it is a dead letter."""
    await client.user(balance=100)
    basket = await client.basket()
    for sum_ in (10, 10, 11):
        await client.post("/Order", {"user": "Pavel", "sum": sum_, "basket": basket, "attempt": 1})
    said = [span.attributes for span in named(spans, "POST create_order")]
    assert [each["shop.outcome"] for each in said] == ["done", "replayed", "refused"]
    assert [each["shop.replayed"] for each in said] == [False, True, False]
    assert said[2]["shop.code"] == "other_terms"
    assert not any(span.failed for span in spans)
    event = client.sink.received[0]
    await call("billing_handler", headers=event.headers, body=b"\xff")
    (refused,) = named(spans, "process payments")
    assert refused.failed == refused.attributes["error.type"] == "not_an_event"


async def test_a_repeated_order_is_emitted_in_the_trace_that_ordered_it(client: Client, spans: list[Span]) -> None:
    """The repetition is a trace of its own; each of both links to the other."""
    await client.user(balance=100)
    basket = await client.basket()
    for its in (TRACE, OTHER_TRACE):
        await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket}, traceparent=its)
    first, again = named(spans, "POST create_order")
    ordered = client.sink.received[0].header("ce-traceparent")
    assert client.sink.received[1].header("ce-traceparent") == ordered == first.traceparent
    _, emission = named(spans, "send payments")
    assert (emission.parent, emission.links) == (first.traceparent, [again.traceparent])
    assert again.links == [first.traceparent]
    assert client.sink.received[1].header("traceparent") == emission.traceparent


async def test_a_tick_links_to_the_orders_that_it_asks_for(client: Client, spans: list[Span]) -> None:
    """Its emissions are theirs."""
    basket = await client.basket()
    await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket}, traceparent=TRACE)
    await collection("orders", "baskets").update_one(
        {"_id": ObjectId(basket)}, [{"$set": {"resend_at": "$ordered_at"}}]
    )
    assert (await call("resend_orders", headers=[("ce-id", "tick")])).status == 200
    (ordered,), (tick,) = named(spans, "POST create_order"), named(spans, "tick resend_orders")
    assert tick.links == [ordered.traceparent]
    assert trace.trace_of(tick.traceparent) != trace.trace_of(TRACE)
    _, emission = named(spans, "send payments")
    assert (emission.parent, emission.links) == (ordered.traceparent, [tick.traceparent])


async def test_a_batch_is_a_part_of_one_and_linked_to_the_others(client: Client, spans: list[Span]) -> None:
    """Reads that share their command are one span."""
    users = [await client.user(f"user {number}") for number in range(3)]
    spans.clear()
    await asyncio.gather(*(client.get("/GetUser", {"user": user}) for user in users))
    (batch,) = named(spans, "find users")
    requests = {span.traceparent for span in named(spans, "GET get_user")}
    assert {batch.parent, *batch.links} == requests
    assert len(requests) == 3


async def test_the_flag_of_a_trace_is_honoured(client: Client, spans: list[Span]) -> None:
    """What its beginner does not record nobody does, and it goes on so."""
    await client.user(balance=100)
    basket = await client.basket()
    spans.clear()
    answer = await client.post("/Order", {"user": "Pavel", "sum": 10, "basket": basket}, traceparent=UNSAMPLED)
    assert answer.headers["traceparent"] == UNSAMPLED
    assert client.sink.received[0].header("ce-traceparent") == UNSAMPLED
    await client.deliver()
    assert spans == []


@pytest.mark.parametrize(
    ("sampler", "ratio", "begun", "sampled", "unsampled"),
    [
        ("parentbased_always_on", 1.0, True, True, False),
        ("parentbased_always_off", 1.0, False, True, False),
        ("always_on", 1.0, True, True, True),
        ("always_off", 1.0, False, False, False),
        ("parentbased_traceidratio", 0.0, False, True, False),
        ("parentbased_traceidratio", 1.0, True, True, False),
        ("traceidratio", 0.0, False, False, False),
    ],
)
def test_a_sampler_is_as_opentelemetry_describes_it(
    sampler: str, ratio: float, *, begun: bool, sampled: bool, unsampled: bool
) -> None:
    """What is recorded of traces that begin here, and of those that others record or do not."""
    tracer = Tracer(Traces(sampler=sampler, ratio=ratio), process.current().random_bits, lambda _: None)
    for parent, expected in ((None, begun), (TRACE, sampled), (UNSAMPLED, unsampled)):
        traceparent, span = tracer.enter("x", "server", parent, {})
        assert (span is not None) == trace.is_sampled(traceparent) == expected


@pytest.mark.parametrize(
    ("environment", "traces"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, Traces()),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c", "K_SERVICE": "a", "K_REVISION": "a-1"}, Traces("a", "a-1")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SERVICE_NAME": "b", "K_SERVICE": "a"}, Traces("b")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, None),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.25",
            },
            Traces(sampler="parentbased_traceidratio", ratio=0.25),
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c",
                "OTEL_TRACES_SAMPLER": "jaeger_remote",
                "OTEL_TRACES_SAMPLER_ARG": "many",
            },
            Traces(),
        ),
    ],
)
def test_opentelemetry_s_variables_are_read(environment: dict[str, str], traces: Traces | None) -> None:
    """Without an endpoint there is nothing; what is wrong is as if it were not set, and no process ends over it."""
    assert Settings.read(environment).traces == traces


def test_what_waits_to_be_sent_is_bounded() -> None:
    """Spans until OpenTelemetry is there, and links of one span."""
    sender = Sender(Traces())
    for number in range(HELD + 10):
        sender(Span(str(number), "server", TRACE, None, {}))
    assert (len(sender._waiting), sender._waiting[0].name) == (HELD, "10")
    span = Span("tick", "consumer", TRACE, None, {})
    for number in range(LINKS + 10):
        span.link(f"00-{number + 1:032x}-{1:016x}-01")
    assert len(span.links) == LINKS


IMPORTED = """
import asyncio, sys
from tests.support import asgi
async def ask():
    for method in ("GET", "DELETE"):
        sent = await asgi.exchange(asgi.app("create_order"), method, path="/Order")
        assert sent[0]["status"] == 405, sent
    await asyncio.sleep(0.1)
asyncio.run(ask())
ours = ("shop.process.tracing", "shop.process.export")
print([name for name in sys.modules if name.startswith("opentelemetry") or name in ours])
"""


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    """Neither OpenTelemetry nor our own spans, by a process that has answered."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


async def test_the_last_spans_arrive_when_a_process_ends(mongod: Mongod, shop: None) -> None:
    """The first request's too, with its own times, though OpenTelemetry came after its answer."""
    async with collecting() as collector:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "users"}
        async with shop_serve("create_user", MONGODB_URI=mongod.uri, **told) as create_user:
            for user in ("Pavel", "Olga"):
                answer = await create_user.send("POST", "/CreateUser", f'{{"user": "{user}"}}'.encode())
                assert answer.status == 200
            create_user.terminate()  # at once: the queue waits for 5 s
            await asyncio.wait_for(create_user.process.wait(), 15)
        first, second = collector.named("POST create_user")
        assert {service for service, _ in collector.spans} == {"users"}
        assert first.end_time_unix_nano <= second.start_time_unix_nano
        assert second.trace_id.hex() == trace.trace_of(answer.headers["traceparent"])
        assert attributes(second)["http.response.status_code"] == 200
        (statement,) = (span for _, span in collector.spans if span.parent_span_id == second.span_id)
        assert attributes(statement) | {"server.port": 0} == {
            "db.system.name": "mongodb",
            "db.operation.name": "findAndModify",
            "db.namespace": "billing",
            "db.collection.name": "users",
            "server.address": "127.0.0.1",
            "server.port": 0,
        }


async def test_a_collector_that_is_away_delays_nothing(mongod: Mongod, shop: None) -> None:
    """No answer, and no end."""
    away = f"http://127.0.0.1:{free_port()}"
    async with shop_serve("create_user", MONGODB_URI=mongod.uri, OTEL_EXPORTER_OTLP_ENDPOINT=away) as create_user:
        for _ in range(3):
            assert (await create_user.send("POST", "/CreateUser", b'{"user": "Pavel"}')).status == 200
        create_user.terminate()
        await asyncio.wait_for(create_user.process.wait(), 15)


async def test_a_collector_that_hangs_delays_nothing(mongod: Mongod, shop: None) -> None:
    """It has taken the first spans and never answers: requests do not wait for it, nor does the end."""
    async with Sink(answers=[HANG] * 1000) as hanging:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": hanging.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        async with shop_serve("create_user", MONGODB_URI=mongod.uri, **told) as create_user:
            assert (await create_user.send("POST", "/CreateUser", b'{"user": "Pavel"}')).status == 200
            async with asyncio.timeout(20):
                while not hanging.received:  # noqa: ASYNC110 - another process sends
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(8):  # OpenTelemetry waits for 10 s
                for _ in range(10):
                    assert (await create_user.send("POST", "/CreateUser", b'{"user": "Pavel"}')).status == 200
            create_user.terminate()
            await asyncio.wait_for(create_user.process.wait(), 15)
