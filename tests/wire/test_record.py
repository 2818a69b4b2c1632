"""A record is the event that KafkaSource makes of it, whatever somebody wrote to the topic."""

import pytest

from tests.support.records import Message
from wire.event import NotAnEventError
from wire.record import Record

STRUCTURED: list[tuple[str, bytes | None]] = [("content-type", b"application/cloudevents+json")]


def test_bytes_become_text_and_an_encoded_surrogate_one_mark() -> None:
    """As in Java; a header without a value stays without one."""
    record = Record.from_message(Message(None, [("x", b"\xed\xa0\x80\xff"), ("y", None)], "П".encode()))
    assert (record.place, record.offset, record.timestamp_ms) == (("payments", 2), 2**40, 1_795_000_000_000)
    assert record.headers == [("x", "\ufffd\ufffd"), ("y", None)]
    assert record.texts == [("x", "\ufffd\ufffd")]
    assert (record.key, record.value, record.has_null_header) == ("П", None, True)


def test_a_record_is_wrapped_only_where_that_is_asked_for() -> None:
    """What is around it says where it was, and keeps its headers."""
    record = Record.from_message(Message(b"x", [("X-Y", b"z"), ("Content-Type", b"Text/Plain")], b"Ann"))
    with pytest.raises(NotAnEventError):
        record.event("shop", "mine", wrap=False)
    assert record.event("shop", "mine", wrap=True).attributes == {
        "specversion": "1.0",
        "id": f"partition:2/offset:{2**40}",
        "source": "/apis/v1/namespaces/shop/kafkasources/mine#payments",
        "type": "dev.knative.kafka.event",
        "subject": f"partition:2#{2**40}",
        "time": "2026-11-18T11:06:40Z",
        "key": "Ann",
        "partitionkey": "Ann",
        "kafkaheaderxy": "z",
        "datacontenttype": "text/plain",
        "knativekafkapartition": 2,
        "knativekafkaoffset": 2**40,
    }


@pytest.mark.parametrize("value", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"{}", b""])
def test_a_record_that_is_garbled_is_wrapped_as_kafka_source_does(value: bytes) -> None:
    """However deeply it is nested: it ended the reading of the whole topic, its dead letters included."""
    event = Record.from_message(Message(value, STRUCTURED)).event("shop", "x", wrap=True)
    assert event.text("type") == "dev.knative.kafka.event"
    assert event.data == value


def test_a_record_that_kafka_source_discards_is_none() -> None:
    """A header without a value."""
    with pytest.raises(NotAnEventError):
        Record.from_message(Message(b"", [("ce_id", None)])).event("shop", "x", wrap=True)
