"""Recorded events: one structured CloudEvent per line, its data in base64, so that no byte of it changes.

Each line is the event as KafkaSource would deliver it, so anybody can replay it: the event's attributes, and
`knativekafkapartition` and `knativekafkaoffset`, which KafkaSource adds. Two extensions of ours stand beside them:
`kafkatopic`, and `kafkakey` for the record's key, which is `partitionkey` again unless somebody else produced it.
"""

import base64
import json
import mmap
from collections.abc import Iterator
from pathlib import Path

from wire.event import Event, NotAnEventError, parse
from wire.record import Message, Record

_STRUCTURED = [("content-type", "application/cloudevents+json")]


class NotARecordingError(Exception):
    """A file has no events in it, or a line that is none; the text names the file and the line."""


def line(event: Event) -> str:
    """Return the event as one line of JSON.

    Numbers among the attributes become text: an integer of a CloudEvent has 32 bits, an offset of Kafka 64, and in
    a header both are text again.
    """
    attributes = {name: value if isinstance(value, str) else str(value) for name, value in event.attributes.items()}
    data = {} if event.data is None else {"data_base64": base64.b64encode(event.data).decode()}
    text = json.dumps(attributes | data, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        return json.dumps(attributes | data, separators=(",", ":"))
    return text


def from_line(text: bytes) -> Event:
    """Read one line.

    Raises:
        NotAnEventError: it is none.

    """
    return parse(_STRUCTURED, text, "ce_")


def recorded(message: Message) -> Event:
    """Return the event that a record of Kafka is, or is wrapped in, as KafkaSource does, with where it was in Kafka.

    Raises:
        NotAnEventError: KafkaSource would discard the record.

    """
    record = Record.from_message(message)
    key = {} if record.key is None else {"kafkakey": record.key}
    return record.event("shop", "recorded", wrap=True).with_attributes(kafkatopic=record.place[0], **key)


class Recording:
    """A file of recorded events: any of them at any time, without holding them all."""

    def __init__(self, file: Path) -> None:
        """Open the file and find its lines.

        Raises:
            NotARecordingError: there are none.

        """
        with file.open("rb") as opened:
            try:
                self._bytes = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise NotARecordingError(f"{file} has no events in it") from None
        self.file = file
        self._lines: list[tuple[int, int]] = []
        start = 0
        while start < len(self._bytes):
            end = self._bytes.find(b"\n", start)
            end = len(self._bytes) if end < 0 else end
            if self._bytes[start:end].strip():
                self._lines.append((start, end))
            start = end + 1
        if not self._lines:
            raise NotARecordingError(f"{file} has no events in it")

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> Event:
        start, end = self._lines[number]
        try:
            return from_line(self._bytes[start:end])
        except NotAnEventError as error:
            raise NotARecordingError(f"{self.file}, event {number + 1}: {error}") from error

    def __iter__(self) -> Iterator[Event]:
        return (self[number] for number in range(len(self)))
