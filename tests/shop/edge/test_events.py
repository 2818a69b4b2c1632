"""shop.edge.events takes CloudEvents as KafkaSource brings them, and tells it by the status what to do with each."""

import base64
import json
from collections.abc import Callable, Mapping

import pytest

from shop import notifications
from shop.edge import Call, consumer
from shop.edge.handling import Function
from shop.errors import Code, Contradiction, Unavailable
from shop.schema.events_pb2 import DECLINED, PaymentDecided, PaymentRequested
from shop.store.client import collection
from tests.support.asgi import Answer, call

BASKET = "66f0c1d2e3a4b5c6d7e8f901"


def decided(**changes: object) -> PaymentDecided:
    """Return a decision, with some of its fields changed."""
    event = PaymentDecided(
        user="Павел", basket=BASKET, number=1, attempt=2, sum=10, outcome=DECLINED, reason="insufficient funds"
    )
    event.decided_at.FromSeconds(1785585600)
    event.MergeFrom(PaymentDecided(**changes))
    return event


ATTRIBUTES = {
    "specversion": "1.0",
    "id": f"{BASKET}.2",
    "type": "shop.events.v1.PaymentDecided",
    "source": "/billing",
    "subject": BASKET,
    "time": "2026-08-01T12:00:00Z",
    "partitionkey": "%D0%9F%D0%B0%D0%B2%D0%B5%D0%BB",
    "knativekafkapartition": "3",
    "knativekafkaoffset": "17",
}


def binary(data: bytes, changes: Mapping[str, str | None] | None = None) -> tuple[list[tuple[str, str]], bytes]:
    """Return headers and body of an event as KafkaSource sends it; None takes an attribute away."""
    attributes = {**ATTRIBUTES, "datacontenttype": "application/protobuf", **(changes or {})}
    headers = [("Prefer", "reply"), ("Kn-Namespace", "shop"), ("user-agent", "Vert.x-WebClient/5.0.5")]
    for name, value in attributes.items():
        if value is not None:
            headers.append(("content-type" if name == "datacontenttype" else f"ce-{name}", value))
    return headers, data


def structured(
    data: bytes, changes: Mapping[str, object] | None = None, media_type: str = "application/cloudevents+json"
) -> tuple[list[tuple[str, str]], bytes]:
    """Return headers and body of an event as one JSON document; None takes a member away."""
    event: dict[str, object] = {
        **ATTRIBUTES,
        "datacontenttype": "application/protobuf",
        "data_base64": base64.b64encode(data).decode(),
        **(changes or {}),
    }
    event = {name: value for name, value in event.items() if value is not None}
    return [("Content-Type", media_type)], json.dumps(event).encode()


async def notify(
    event: tuple[list[tuple[str, str]], bytes], method: str = "POST", function: str | Function = "notify_handler"
) -> Answer:
    """Bring an event to notify_handler, or to another function that takes it."""
    answer = await call(function, method, headers=event[0], body=event[1])
    assert not any(name.startswith("kne-") for name in answer.headers)
    assert "Traceback" not in answer.text
    return answer


async def recorded() -> int:
    """Return how many notifications there are."""
    return await collection("notify", "notifications").count_documents({})


@pytest.mark.parametrize("mode", [binary, structured])
async def test_an_event_is_taken_in_binary_and_in_structured_mode(
    shop: None, mode: Callable[..., tuple[list[tuple[str, str]], bytes]]
) -> None:
    """200 and an empty body, and the same when it comes again."""
    for _ in range(2):
        answer = await notify(mode(decided().SerializeToString()))
        assert (answer.status, answer.body) == (200, b"")
    (stored,) = (await notifications.latest(None)).notifications
    assert (stored["_id"], stored["user"], stored["outcome"]) == (f"{BASKET}.2", "Павел", "declined")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/cloudevents+json; charset=utf-8",
        "application/cloudevents+json;charset=UTF-8",
        "Application/CloudEvents+JSON",
    ],
)
async def test_the_media_type_of_a_structured_event_may_have_parameters(shop: None, media_type: str) -> None:
    """And capitals."""
    assert (await notify(structured(decided().SerializeToString(), media_type=media_type))).status == 200


@pytest.mark.parametrize(
    "content_type", ["application/protobuf; messageType=x", "Application/Protobuf", " application/protobuf "]
)
async def test_the_content_type_of_the_data_may_have_parameters(shop: None, content_type: str) -> None:
    """And capitals and blanks."""
    answer = await notify(binary(decided().SerializeToString(), {"datacontenttype": content_type}))
    assert answer.status == 200


@pytest.mark.parametrize("mode", [binary, structured])
@pytest.mark.parametrize("data", [b"5", b" 5 ", b"{}", b"[]", b'"x"', b"null", b"\n\n1234567890"])
async def test_data_that_also_reads_as_json_keeps_its_bytes(
    shop: None, mode: Callable[..., tuple[list[tuple[str, str]], bytes]], data: bytes
) -> None:
    """They are read as protobuf and as nothing else; the last of these is a whole message with a user of ten digits."""
    answer = await notify(mode(data))
    assert answer.status == 422
    about_protobuf = "basket must be" if data.startswith(b"\n") else "the data is not a shop.events.v1.PaymentDecided"
    assert about_protobuf in answer.text


def no_event() -> list[tuple[str, tuple[list[tuple[str, str]], bytes]]]:
    """Return what is not one of our events, and what the answer says of it."""
    data = decided().SerializeToString()
    time = decided()
    time.decided_at.nanos = 1
    late = decided()
    late.decided_at.seconds = 2**60
    other = decided(user="Olga", attempt=3)
    undated = decided()
    undated.ClearField("decided_at")
    undecided = decided()
    undecided.ClearField("outcome")
    nobody = decided()
    nobody.ClearField("user")
    return [
        ("no id", binary(data, {"id": None})),
        ("no id", binary(data, {"id": ""})),
        ("no source", binary(data, {"source": None})),
        ("no type", binary(data, {"type": None})),
        ("only /billing may emit this event", binary(data, {"source": "/evil"})),
        ("only /billing may emit this event", binary(data, {"source": "/orders"})),
        ("only /billing may emit this event", structured(data, {"source": "/billing/"})),
        ("epoch must be", binary(decided(epoch=-1).SerializeToString())),
        ("specversion is 0.3", binary(data, {"specversion": "0.3"})),
        ("specversion is ;", binary(data, {"specversion": ""})),
        ("not a CloudEvent", binary(data, {"specversion": None})),
        ("type is shop.events.v1.PaymentRequested", binary(data, {"type": "shop.events.v1.PaymentRequested"})),
        ("type is dev.knative.kafka.event", binary(data, {"type": "dev.knative.kafka.event"})),
        ("application/json", binary(data, {"datacontenttype": "application/json"})),
        ("no content type", binary(data, {"datacontenttype": None})),
        ("application/cloudevents+json", binary(data, {"datacontenttype": "application/cloudevents+json"})),
        ("it was edited", binary(data, {"id": f"{BASKET}.3"})),
        ("it was edited", binary(other.SerializeToString())),
        ("it was edited", binary(time.SerializeToString())),
        ("is not a shop.events.v1.PaymentDecided", binary(data[:-1])),
        ("is not a shop.events.v1.PaymentDecided", binary(b"\n\x01\xff")),
        ("user must have", binary(b"")),
        ("user must have", binary(nobody.SerializeToString())),
        ("control characters", binary(decided(user="a\nb").SerializeToString())),
        ("basket must be", binary(decided(basket="x").SerializeToString())),
        ("lower-case", binary(decided(basket=BASKET.upper()).SerializeToString(), {"id": f"{BASKET.upper()}.2"})),
        ("sum must be", binary(decided(sum=-1).SerializeToString())),
        ("sum must be", binary(decided(sum=10**12 + 1).SerializeToString())),
        ("attempt must be", binary(decided(attempt=-1).SerializeToString())),
        ("number must be", binary(decided(number=2**63 - 1).SerializeToString())),
        ("outcome must be", binary(undecided.SerializeToString())),
        ("decided_at is missing", binary(undated.SerializeToString())),
        ("out of range", binary(late.SerializeToString())),
        ("not a CloudEvent", ([], b"")),
        ("not a CloudEvent", ([("content-type", "application/json")], b"{}")),
        ("not a CloudEvent", ([("content-type", "application/cloudevents+json")], b"{")),
        ("not a CloudEvent", ([("content-type", "application/cloudevents+json")], b"[" * 30_000)),
        ("not a CloudEvent", ([("content-type", "application/cloudevents+json")], b"\xff")),
        ("not a CloudEvent", ([("content-type", "application/cloudevents-batch+json")], b"[]")),
        (
            "not a CloudEvent",
            ([("content-type", "application/cloudevents-batch+json")], b"[" + structured(data)[1] + b"]"),
        ),
        ("not a CloudEvent", structured(data, {"id": None})),
        ("not a CloudEvent", structured(data, {"specversion": "2.0"})),
        ("data_base64", structured(data, {"data_base64": None})),
        ("data_base64", structured(data, {"data_base64": None, "data": "text"})),
        ("data_base64", structured(data, {"data_base64": None, "data": {"user": "Pavel"}})),
        ("not a CloudEvent", structured(data, {"data_base64": 5})),
        ("not a CloudEvent", structured(data, {"data_base64": "A"})),
        ("type is \\ud800", structured(data, {"type": "\ud800"})),
        ("id is \\ud800", structured(data, {"id": "\ud800"})),
        ("over 65536 bytes", binary(data + bytes(65_536))),
        ("over 65536 bytes", structured(data + bytes(65_536))),
    ]


@pytest.mark.parametrize(("says", "event"), no_event(), ids=[f"{at}-{says}" for at, (says, _) in enumerate(no_event())])
async def test_what_can_never_work_is_422_and_the_text_says_why(
    shop: None, says: str, event: tuple[list[tuple[str, str]], bytes]
) -> None:
    """It goes to the dead letters at once, our text beside it; nothing is recorded."""
    answer = await notify(event)
    assert answer.status == 422
    assert says in answer.text.replace("specversion is None;", "specversion is ;")
    assert answer.headers["content-type"].startswith("text/plain")
    assert await recorded() == 0


async def test_an_event_whose_end_does_not_come_is_422(shop: None) -> None:
    """Nobody reads the answer; nothing is recorded, and KafkaSource brings the event again."""
    headers, body = binary(decided().SerializeToString())
    assert (await call("notify_handler", headers=headers, body=body, cut=True)).status == 422
    assert await recorded() == 0


@pytest.mark.parametrize("function", ["billing_handler", "order_handler", "notify_handler", "resend_orders"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_405(databases: None, function: str, method: str) -> None:
    """Nobody of Knative sends it."""
    headers, body = binary(decided().SerializeToString())
    answer = await call(function, method, headers=headers, body=body)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("function", ["billing_handler", "order_handler", "notify_handler", "resend_orders"])
async def test_health_is_answered_by_every_event_function(function: str) -> None:
    """Whatever else is missing."""
    assert (await call(function, "GET", path="/healthz")).status == 200


async def test_the_attributes_that_a_dead_letter_has_besides_are_not_looked_at(shop: None) -> None:
    """A redriven event is the event."""
    extensions = {"knativeerrordest": "http://x", "knativeerrorcode": "503", "knativeerrordata": "eA==", "unknown": "x"}
    assert (await notify(binary(decided().SerializeToString(), extensions))).status == 200


def raising(error: Exception) -> Function:
    """Make a function that takes decisions and fails in this way."""

    @consumer(PaymentDecided, "notify")
    async def failing(decided: PaymentDecided, call: Call) -> str:
        raise error

    return failing


async def test_a_contradiction_is_422(databases: None) -> None:
    """Both values are in the text."""
    function = raising(Contradiction(Code.OTHER_CONTENT, "notified with sum 10, not 11"))
    answer = await notify(binary(decided().SerializeToString()), function=function)
    assert (answer.status, answer.text) == (422, "other_content: notified with sum 10, not 11")


async def test_unavailable_is_503(databases: None) -> None:
    """KafkaSource tries again."""
    function = raising(Unavailable(Code.DATABASE_UNAVAILABLE, "later"))
    answer = await notify(binary(decided().SerializeToString()), function=function)
    assert (answer.status, answer.text) == (503, "database_unavailable: later")


async def test_a_bug_is_500_without_a_trace(databases: None, caplog: pytest.LogCaptureFixture) -> None:
    """KafkaSource tries again; the trace is in the log and nowhere else."""
    answer = await notify(binary(decided().SerializeToString()), function=raising(ZeroDivisionError("secret")))
    assert answer.status == 500
    assert "secret" not in answer.text
    assert any(record.exc_info for record in caplog.records)


async def test_a_decision_that_cannot_be_emitted_is_503_and_the_same_later(
    shop: None, configure: Callable[..., None]
) -> None:
    """Without K_SINK not even the charge is made."""
    configure(sink="")
    requested = PaymentRequested(user="Pavel", basket=BASKET, number=1, attempt=1, sum=10)
    requested.ordered_at.FromSeconds(1785585600)
    changes = {"type": "shop.events.v1.PaymentRequested", "source": "/orders", "id": f"{BASKET}.1"}
    headers, body = binary(requested.SerializeToString(), changes)
    assert (await call("billing_handler", headers=headers, body=body)).status == 503
    assert await collection("billing", "users").count_documents({}) == 0
    configure(sink="http://127.0.0.1:1/")
    assert (await call("billing_handler", headers=headers, body=body)).status == 503
    assert await collection("billing", "users").count_documents({}) == 1


async def test_settlement_of_an_unknown_basket_is_422(shop: None) -> None:
    """The order service knows every basket there is."""
    headers, body = binary(decided().SerializeToString())
    answer = await call("order_handler", headers=headers, body=body)
    assert (answer.status, BASKET in answer.text) == (422, True)


@pytest.mark.parametrize("body", [b"", b"{}", b"no JSON", b"\xff"])
async def test_a_tick_is_a_tick_whatever_it_says(shop: None, configure: Callable[..., None], body: bytes) -> None:
    """A PingSource's event only says that it is time; and with nowhere to emit to it is 503."""
    configure(sink="http://127.0.0.1:1/")
    assert (await call("resend_orders", body=body)).status == 200
    configure(sink="")
    assert (await call("resend_orders", body=body)).status == 503
