"""A record of Kafka as text, and the event that the real KafkaSource makes of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

from wire.event import Event, NotAnEventError, parse, utc_time

Place = tuple[str, int]
"""Topic and partition."""

_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]?")


class Message(Protocol):
    """What a consumer of confluent_kafka returns: its methods, for nothing of it is imported here."""

    def topic(self) -> str | None:
        """Return the topic."""

    def partition(self) -> int | None:
        """Return the number of the partition."""

    def offset(self) -> int | None:
        """Return the offset."""

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of the time, and the time in milliseconds since 1970."""

    def key(self) -> str | bytes | None:
        """Return the key."""

    def headers(self) -> Any:
        """Return the pairs of name and value; its stub allows a dictionary, which is never returned."""

    def value(self) -> str | bytes | None:
        """Return the value."""


@dataclass(frozen=True)
class Record:
    """A record of Kafka as text, bytes that are no UTF-8 replaced; a header without a value is None."""

    place: Place
    offset: int
    timestamp_ms: int
    key: str | None
    headers: Sequence[tuple[str, str | None]]
    value: bytes | None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Read what the consumer returned."""
        place = (message.topic() or "", message.partition() or 0)
        headers = [(name, _utf8(_bytes(value))) for name, value in message.headers() or []]
        key = _utf8(_bytes(message.key()))
        return cls(place, message.offset() or 0, message.timestamp()[1], key, headers, _bytes(message.value()))

    @cached_property
    def has_null_header(self) -> bool:
        """Whether a header has no value, which the real one cannot handle."""
        return any(text is None for _, text in self.headers)

    @cached_property
    def texts(self) -> list[tuple[str, str]]:
        """The headers that have a value."""
        return [(name, text) for name, text in self.headers if text is not None]

    def event(self, namespace: str, name: str, *, wrap: bool) -> Event:
        """Return the CloudEvent that the record is, or else the one that the source of this name wraps around it.

        Raises:
            NotAnEventError: a header has no value, or it is no event and `wrap` is false.

        """
        if self.has_null_header:
            raise NotAnEventError("a header without a value")
        topic, partition = self.place
        try:
            event = parse(self.texts, self.value, "ce_")
        except NotAnEventError:
            if not wrap:
                raise
            event = self._wrap(f"/apis/v1/namespaces/{namespace}/kafkasources/{name}#{topic}")
        return event.with_attributes(knativekafkapartition=partition, knativekafkaoffset=self.offset)

    def _wrap(self, source: str) -> Event:
        _, partition = self.place
        attributes: dict[str, str] = {
            "specversion": "1.0",
            "id": f"partition:{partition}/offset:{self.offset}",
            "source": source,
            "type": "dev.knative.kafka.event",
            "subject": f"partition:{partition}#{self.offset}",
            "time": utc_time(self.timestamp_ms),
        }
        if self.key is not None:
            attributes["key"] = attributes["partitionkey"] = self.key
        for name, text in self.texts:
            if name.lower() == "content-type":
                attributes["datacontenttype"] = text.lower()
            else:
                attributes["kafkaheader" + re.sub(r"[^a-z0-9]", "", name.lower())] = text
        return Event(attributes, self.value)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _utf8(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        # Java replaces an encoded surrogate as a whole, Python each of its bytes.
        return _SURROGATE.sub(b"\xff", value).decode(errors="replace")
