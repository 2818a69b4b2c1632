"""Dead letters: events with what became of them beside their attributes."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from cli.events import Payment, attribute, payment
from cli.places import Places
from local.cloudevents import Event

_VARYING: Final = re.compile(r"\b[0-9a-f]{24}\b|\d+|'[^']*'")


@dataclass(frozen=True)
class Letter:
    """An event that a consumer did not take."""

    event: Event
    consumer: str
    """The function that failed; its URL when it is none that we know."""

    known: bool
    """Whether the consumer is one that we know where to find."""

    code: str
    """The status it answered; empty when it did not answer."""

    reason: str
    """The text it answered."""

    about: Payment | None
    """What the data say, when they can be read."""

    replays: int
    """How often it was redriven."""

    parked: str
    """Why it is not to be redriven any more; empty otherwise."""

    @classmethod
    def of(cls, event: Event, places: Places) -> "Letter":
        """Read a dead letter."""
        destination = attribute(event, "knativeerrordest")
        consumer = places.consumer_at(destination)
        replays = attribute(event, "replaycount")
        return cls(
            event=event,
            consumer=consumer or destination or "unknown",
            known=consumer is not None,
            code=attribute(event, "knativeerrorcode"),
            reason=_decoded(attribute(event, "knativeerrordata")),
            about=payment(event),
            replays=int(replays) if replays.isdecimal() else 0,
            parked=attribute(event, "parked"),
        )

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two letters the same one: the event and the consumer. Ids are unique within a source only."""
        return (
            self.consumer,
            attribute(self.event, "source"),
            attribute(self.event, "id"),
            attribute(self.event, "type"),
        )

    @property
    def kind(self) -> str:
        """Return the reason without what differs from letter to letter: ids, numbers and quoted values."""
        return _VARYING.sub("…", self.reason)

    @property
    def place(self) -> str:
        """Return partition and offset in the dead letters: what `orders dlq show` takes."""
        return f"{attribute(self.event, 'knativekafkapartition')}/{attribute(self.event, 'knativekafkaoffset')}"


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode(errors="replace")
    except binascii.Error:
        return data
