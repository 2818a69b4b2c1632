"""A recorded event is the one that KafkaSource delivers, and each byte of it comes back."""

import json
from pathlib import Path

import pytest

from tests.support.records import Message
from wire.event import Event
from wire.recording import NotARecordingError, Recording, from_line, line, recorded

ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}


def test_a_record_is_recorded_with_where_it_was() -> None:
    """Partition and offset as KafkaSource says them; topic and key beside them; an offset passes 32 bits."""
    headers: list[tuple[str, bytes | None]] = [(f"ce_{name}", value.encode()) for name, value in ATTRIBUTES.items()]
    event = from_line(line(recorded(Message(b"\x00\xff", headers, b"Ann"))).encode())
    assert event.data == b"\x00\xff"
    wanted = {
        "knativekafkapartition": "2",
        "knativekafkaoffset": str(2**40),
        "kafkatopic": "payments",
        "kafkakey": "Ann",
    }
    assert {name: event.text(name) for name in wanted} == wanted


def test_half_a_surrogate_pair_is_written_as_json_has_it() -> None:
    """JSON can say it, UTF-8 cannot: the line stays one that can be written and read again."""
    event = from_line(json.dumps({**ATTRIBUTES, "subject": "\ud800"}).encode())
    text = line(event)
    assert r"\ud800" in text
    assert from_line(text.encode()) == event
    assert "Павел" in line(event.with_attributes(subject="Павел"))


def test_any_event_of_a_recording_can_be_read_at_any_time(tmp_path: Path) -> None:
    """Empty lines are none, and the last line may lack its end; a broken one is named by its number."""
    file = tmp_path / "run.ndjson"
    first, second = (line(Event({**ATTRIBUTES, "id": number}, None)) for number in "12")
    file.write_text(f"{first}\n\n  \n{second}")
    recording = Recording(file)
    assert [event.text("id") for event in recording] == ["1", "2"]
    assert (len(recording), recording[1].text("id")) == (2, "2")
    file.write_text(f"{first}\n\nnothing\n")
    with pytest.raises(NotARecordingError, match="event 2: not JSON"):
        list(Recording(file))
    for empty in ("", "\n \n"):
        file.write_text(empty)
        with pytest.raises(NotARecordingError, match="has no events in it"):
            Recording(file)
