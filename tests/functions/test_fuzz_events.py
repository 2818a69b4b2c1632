"""Every event function against events that are nearly right, and noise.

Never a 5xx, never anything but 200 for what was done and 422 for what never can be, never a change by a refused event.
`FUZZ_EXAMPLES=2000` tries as many new examples of each.
"""

import asyncio
import base64
import json
from datetime import UTC, datetime

import pytest
from bson import Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from shop.edge import handling
from shop.messages import MAX_INT64, event_id
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from shop.store.client import collection
from tests.functions.conftest import Client, everything
from tests.support.asgi import call
from tests.support.examples import examples
from tests.support.functions import triggered

TAKES = {name: function.label.takes for name, function in triggered("event").items()}
functions = pytest.mark.parametrize("function", TAKES)

TIMEOUT_S = 15
"""Beyond the deadline of a function: what takes longer hangs."""

BASKET = "66f0c1d2e3a4b5c6d7e8f901"

users = st.sampled_from(["Pavel", "Павел", "$balance", "", "a\nb", "x" * 129]) | st.text(max_size=130)
baskets = st.text("0123456789abcdef", min_size=24, max_size=24) | st.sampled_from(
    [BASKET, BASKET.upper(), BASKET[1:], ""]
)
counts = st.sampled_from([0, 1, 2, 3, -1, MAX_INT64, MAX_INT64 - 1])
sums = st.sampled_from([0, 1, 10, 10**12, 10**12 + 1, -1, MAX_INT64])
seconds = st.sampled_from([0, 1785585600, -1, 253402300799, 253402300800, -62135596801]) | st.integers(
    -(2**63), 2**63 - 1
)
nanos = st.sampled_from([0, 120_000_000, 120_001_000, 1, 999_999_999, -1, 2**31 - 1])


def honest(function: str) -> PaymentRequested | PaymentDecided:
    """Return an event that is right in everything, unless for the state."""
    event = TAKES[function](user="Pavel", basket=BASKET, number=1, attempt=1, sum=10)
    if isinstance(event, PaymentDecided):
        event.outcome = 1
        event.decided_at.seconds = 1785585600
    else:
        event.ordered_at.seconds = 1785585600
    return event


FIELDS = {"user": users, "basket": baskets, "number": counts, "attempt": counts, "sum": sums}


@st.composite
def events(draw: st.DrawFn, function: str) -> PaymentRequested | PaymentDecided:
    """Return a message of the function's kind, a few of its fields being what they may not be, or contradicting."""
    event = honest(function)
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=2)):
        setattr(event, name, draw(FIELDS[name]))
    time = event.ordered_at if isinstance(event, PaymentRequested) else event.decided_at
    if draw(st.booleans()):
        time.seconds = draw(st.just(1785585600) | seconds)
        time.nanos = draw(nanos)
    if isinstance(event, PaymentDecided):
        event.outcome, event.reason = draw(st.integers(0, 3)), draw(st.text(max_size=20))
    return event


@st.composite
def spoiled(draw: st.DrawFn, data: bytes) -> bytes:
    """Return the bytes, cut, lengthened, or with one of them changed."""
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    return draw(
        st.sampled_from(
            [
                data,
                data[:at],
                data[at:],
                data + data[:at],
                data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :],
            ]
        )
        | st.binary(max_size=100)
        | st.integers(handling.MAX_BODY - len(data) - 1, handling.MAX_BODY).map(lambda length: data + bytes(length))
    )


latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=30)


@st.composite
def deliveries(draw: st.DrawFn, function: str) -> tuple[list[tuple[str, str]], bytes]:
    """Return headers and body of an event, in one mode or the other, with some attributes changed or missing."""
    event = draw(events(function)) if draw(st.booleans()) else honest(function)
    data = event.SerializeToString(deterministic=True)
    if draw(st.integers(0, 3)) == 0:
        data = draw(spoiled(data))
    attributes: dict[str, object] = {
        "specversion": "1.0",
        "id": event_id(event),
        "type": event.DESCRIPTOR.full_name,
        "source": "/orders",
        "subject": event.basket,
        "datacontenttype": "application/protobuf",
    }
    names = st.sampled_from(
        [*attributes, "time", "dataschema", "traceparent", "partitionkey", "knativekafkaoffset", "a-b"]
    )
    binary = draw(st.booleans())
    values = latin if binary else latin | st.none() | st.integers() | st.lists(st.text()) | st.text(st.characters())
    for name in draw(st.lists(names, max_size=2)):
        if draw(st.booleans()):
            attributes.pop(name, None)
        else:
            attributes[name] = draw(values)
    if binary:
        headers = [
            (
                "content-type" if name == "datacontenttype" else f"ce-{name}",
                str(value).encode("latin-1", "ignore").decode("latin-1"),
            )
            for name, value in attributes.items()
        ]
        return headers, data
    member = draw(st.sampled_from(["data_base64"] * 5 + ["data", "Data"]))
    content = draw(st.sampled_from([base64.b64encode(data).decode()] * 5 + [data.hex(), 5, None, {"user": "Pavel"}]))
    media_type = draw(
        st.sampled_from(["application/cloudevents+json"] * 5 + ["application/cloudevents-batch+json", "text/plain", ""])
    )
    return [("content-type", media_type)], json.dumps({**attributes, member: content}).encode()


async def bring(function: str, headers: list[tuple[str, str]], body: bytes | list[bytes]) -> int:
    """Bring an event to its function, hold the answer to all that is promised, and return its status."""
    before = await everything()
    async with asyncio.timeout(TIMEOUT_S):
        answer = await call(function, headers=headers, body=body)
    assert answer.status in (200, 422), answer
    assert not any(name.startswith("kne-") for name in answer.headers)
    if answer.status == 422:
        assert answer.text
        assert await everything() == before
    return answer.status


@pytest.fixture
async def ordered(client: Client) -> Client:
    """Have a user and the basket that most of the events are about, ordered."""
    await client.user(balance=1000)
    await collection("orders", "baskets").insert_one(
        {
            "_id": ObjectId(BASKET),
            "user": "Pavel",
            "number": Int64(1),
            "status": "ordered",
            "attempt": Int64(2),
            "sum": Int64(10),
            "ordered_at": datetime(2026, 8, 1, 12, tzinfo=UTC),
            "resend_at": datetime(2126, 8, 1, 12, tzinfo=UTC),
        }
    )
    return client


@functions
@examples(80)
@given(data=st.data())
async def test_an_event_is_done_or_refused_for_good(ordered: Client, function: str, data: st.DataObject) -> None:
    """Refused for good, it changed nothing and nothing was emitted."""
    emitted = len(ordered.sink.received)
    if await bring(function, *data.draw(deliveries(function))) == 422:
        assert len(ordered.sink.received) == emitted


@functions
@examples(40)
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                ["content-type", "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-", "traceparent", "x"]
            ),
            latin | st.sampled_from(["1.0", "application/protobuf", "application/cloudevents+json"]),
        )
    ),
    pieces=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
)
async def test_noise_is_refused(
    client: Client, function: str, headers: list[tuple[str, str]], pieces: list[bytes]
) -> None:
    """Any headers and any body, in any number of pieces."""
    await bring(function, headers, pieces)
    assert client.sink.received == []


@examples(40)
@given(
    headers=st.lists(st.tuples(st.sampled_from(["ce-id", "content-type", "x"]), latin)), body=st.binary(max_size=200)
)
async def test_a_tick_is_a_tick(client: Client, headers: list[tuple[str, str]], body: bytes) -> None:
    """With nothing due it does nothing, whatever it looks like."""
    assert await bring("resend_orders", headers, body) == 200
    assert client.sink.received == []
