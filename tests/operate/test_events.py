"""A recorded event is the one that KafkaSource delivers, whatever somebody wrote to the topic."""

import json
from pathlib import Path

import pytest

from operate.cli.output import WrongUse
from operate.events import Recording, attribute, from_line, line, payment, recorded
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from wire.event import Event, NotAnEventError

STRUCTURED = [("content-type", b"application/cloudevents+json")]
ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}


class Message:
    """A record of Kafka."""

    def __init__(self, value: bytes | None, headers: list[tuple[str, bytes | None]], key: bytes | None = None) -> None:
        self._value, self._headers, self._key = value, headers, key

    def topic(self) -> str:
        """Return its topic."""
        return "payments"

    def partition(self) -> int:
        """Return its partition."""
        return 2

    def offset(self) -> int:
        """Return its offset."""
        return 2**40

    def timestamp(self) -> tuple[int, int]:
        """Return its time."""
        return 1, 1_795_000_000_000

    def key(self) -> bytes | None:
        """Return its key."""
        return self._key

    def value(self) -> bytes | None:
        """Return its value."""
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Return its headers."""
        return self._headers


def test_a_record_is_recorded_with_where_it_was() -> None:
    """Partition and offset as KafkaSource says them; topic and key beside them; an offset passes 32 bits."""
    headers: list[tuple[str, bytes | None]] = [(f"ce_{name}", value.encode()) for name, value in ATTRIBUTES.items()]
    event = from_line(line(recorded(Message(b"\x00\xff", headers, b"Ann"))).encode())  # type: ignore[arg-type]
    assert event.data == b"\x00\xff"
    wanted = {
        "knativekafkapartition": "2",
        "knativekafkaoffset": str(2**40),
        "kafkatopic": "payments",
        "kafkakey": "Ann",
    }
    assert {name: attribute(event, name) for name in wanted} == wanted


@pytest.mark.parametrize("value", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"{}", b""])
def test_a_record_that_is_garbled_is_wrapped_as_kafka_source_does(value: bytes) -> None:
    """However deeply it is nested: it ended the reading of the whole topic, its dead letters included."""
    event = recorded(Message(value, STRUCTURED))  # type: ignore[arg-type]
    assert attribute(event, "type") == "dev.knative.kafka.event"
    assert event.data == value


def test_a_record_that_kafka_source_discards_is_none() -> None:
    """A header without a value."""
    with pytest.raises(NotAnEventError):
        recorded(Message(b"", [("ce_id", None)]))  # type: ignore[arg-type]


def test_half_a_surrogate_pair_is_written_as_json_has_it() -> None:
    """JSON can say it, UTF-8 cannot: the line stays one that can be written and read again."""
    event = from_line(json.dumps({**ATTRIBUTES, "subject": "\ud800"}).encode())
    text = line(event)
    assert r"\ud800" in text
    assert from_line(text.encode()) == event
    assert "Павел" in line(event.with_attributes(subject="Павел"))


def test_what_cannot_be_read_is_no_payment() -> None:
    """Another type, or data that are none: nobody is charged by a guess."""
    requested = PaymentRequested(user="Ann", sum=5)
    for kind in (PaymentRequested, PaymentDecided):
        event = Event({**ATTRIBUTES, "type": kind.DESCRIPTOR.full_name}, requested.SerializeToString())
        assert isinstance(payment(event), kind)
    assert payment(Event(ATTRIBUTES, requested.SerializeToString())) is None
    assert payment(Event({**ATTRIBUTES, "type": PaymentRequested.DESCRIPTOR.full_name}, b"\xff")) is None


def test_any_event_of_a_recording_can_be_read_at_any_time(tmp_path: Path) -> None:
    """Empty lines are none, and the last line may lack its end; a broken one is named by its number."""
    file = tmp_path / "run.ndjson"
    first, second = (line(Event({**ATTRIBUTES, "id": number}, None)) for number in "12")
    file.write_text(f"{first}\n\n  \n{second}")
    recording = Recording(file)
    assert [attribute(event, "id") for event in recording] == ["1", "2"]
    assert (len(recording), attribute(recording[1], "id")) == (2, "2")
    file.write_text(f"{first}\n\nnothing\n")
    with pytest.raises(WrongUse, match="event 2: not JSON"):
        list(Recording(file))
    for empty in ("", "\n \n"):
        file.write_text(empty)
        with pytest.raises(WrongUse, match="has no events in it"):
            Recording(file)
