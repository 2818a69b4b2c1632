"""schema/ says each fact once, where it stands: what its options promise, and that they are not on the wire."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import Message

from shop import messages, state
from shop.schema import billing_pb2, events_pb2, notify_pb2, options_pb2, orders_pb2
from shop.schema.events_pb2 import DECLINED, PaymentDecided, PaymentRequested

FILES: dict[str, Any] = {"orders": orders_pb2, "billing": billing_pb2, "notify": notify_pb2}
AT = datetime(2026, 8, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SAID: dict[str, Any] = {"user": "Павел", "basket": "a" * 24, "number": 3, "attempt": 2, "sum": 10**12, "epoch": 7}

# The bytes of 67d5614, which knew no options.
REQUESTED = (
    "0a0ad09fd0b0d0b2d0b5d0bb1218616161616161616161616161616161616161616161616161180320022880a094a58d1d320b08c0bfb7d306"
    "1080e59a773807"
)
DECIDED = (
    "0a0ad09fd0b0d0b2d0b5d0bb1218616161616161616161616161616161616161616161616161180320022880a094a58d1d30023a12696e7375"
    "6666696369656e742066756e6473420b08c0bfb7d3061080e59a774807"
)


def test_events_are_on_the_wire_what_they_always_were() -> None:
    """Byte for byte: what is in the topics is read, and what is emitted again is the same."""
    requested = PaymentRequested(**SAID, ordered_at=AT)
    decided = PaymentDecided(**SAID, outcome=DECLINED, reason="insufficient funds", decided_at=AT)
    assert requested.SerializeToString(deterministic=True).hex() == REQUESTED
    assert decided.SerializeToString(deterministic=True).hex() == DECIDED


def test_every_message_of_events_proto_is_an_event() -> None:
    """The code's union of types is what the file has."""
    assert {kind.DESCRIPTOR.name for kind in messages.EVENTS} == set(events_pb2.DESCRIPTOR.message_types_by_name)


@pytest.mark.parametrize("kind", messages.EVENTS)
def test_an_event_says_its_topic_source_key_and_time(kind: type[Message]) -> None:
    """Fields that it names are its own; its source is one of the services."""
    options = kind.DESCRIPTOR.GetOptions().Extensions
    assert options[options_pb2.topic]
    assert options[options_pb2.source].removeprefix("/") in FILES
    fields = kind.DESCRIPTOR.fields_by_name
    assert set(options[options_pb2.key]) <= set(fields)
    assert fields[options[options_pb2.happened]].message_type.full_name == "google.protobuf.Timestamp"


def test_topics_and_sources_are_what_they_always_were() -> None:
    """Another source would be refused by every consumer that is not rolled out yet."""
    assert {PaymentRequested: "payments", PaymentDecided: "results"} == messages.TOPICS
    assert {PaymentRequested: "/orders", PaymentDecided: "/billing"} == messages.SOURCES


@pytest.mark.parametrize("service", FILES)
def test_requests_say_the_service_that_answers_them(service: str) -> None:
    """One of those that have a database."""
    assert set(FILES) == set(state.SERVICES)
    for descriptor in FILES[service].DESCRIPTOR.message_types_by_name.values():
        assert messages.service(getattr(FILES[service], descriptor.name)) == service


def test_a_range_is_said_once() -> None:
    """A field means the same wherever it stands, so two ranges under one name would leave one of them out."""
    said = Counter(
        field.name
        for file in (events_pb2, *FILES.values())
        for message in file.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.GetOptions().HasExtension(options_pb2.range)
    )
    assert set(said.values()) == {1}
    assert messages.RANGES.keys() == {"sum", "attempt", "number", "epoch", "limit", "balance"}
