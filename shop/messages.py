"""Turn JSON and protobuf bytes into the messages of schema/, checked, documents into messages, and messages into JSON.

A field means the same wherever it stands, so its check goes by its name: a `sum` in a request is held to what a `sum`
in an event is held to, and nothing that passed an edge has to be looked at again further in.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from shop.errors import Code, Impossible, Malformed, Unavailable
from shop.schema import billing_pb2, events_pb2, notify_pb2, options_pb2, orders_pb2
from shop.schema.events_pb2 import DECLINED, OUTCOME_UNSPECIFIED, PAID, PaymentDecided, PaymentRequested

M = TypeVar("M", bound=Message)

Event = PaymentRequested | PaymentDecided
"""What travels through Kafka: the messages of events.proto."""

EVENTS: Final = (PaymentRequested, PaymentDecided)


def _option(of: Any, option: Any) -> Any:
    """Return an option of options.proto, as the descriptor of a file, a message or a field has it."""
    return of.GetOptions().Extensions[option]


def _ranges() -> Iterator[tuple[str, tuple[int, int]]]:
    for file in (events_pb2, orders_pb2, billing_pb2, notify_pb2):
        for message in file.DESCRIPTOR.message_types_by_name.values():
            for field in message.fields:
                if field.GetOptions().HasExtension(options_pb2.range):
                    said = _option(field, options_pb2.range)
                    yield field.name, (said.low, said.high)


RANGES: Final[Mapping[str, tuple[int, int]]] = dict(_ranges())
"""The lowest and the highest value of a field, by its name."""

MAX_SUM: Final = RANGES["sum"][1]
"""The largest sum of one order or deposit, in the smallest unit of money."""

MAX_BALANCE: Final = RANGES["balance"][1]
"""The largest balance: every JSON reader, JavaScript's included, still reads it exactly."""

TERMS: Final = tuple(field.name for field in PaymentRequested.DESCRIPTOR.fields if _option(field, options_pb2.term))
"""What makes two orders the same, by name: whoever stores, compares or tells one of them does so with all of them."""

MAX_USER = 128
"""The longest user, in characters: any script, and its percent-encoding still fits the 8 KiB of an event's headers."""

MAX_INT64 = 2**63 - 1

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CONTROL_OR_SURROGATE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BASKET = re.compile(r"[0-9a-fA-F]{24}")


def check_user(user: str) -> None:
    """Refuse a user that is empty, too long, or has characters that an event's attributes or UTF-8 cannot carry."""
    if not 1 <= len(user) <= MAX_USER:
        raise Impossible(Code.IMPOSSIBLE_VALUE, f"user must have 1 to {MAX_USER} characters; it has {len(user)}")
    if _CONTROL_OR_SURROGATE.search(user):
        raise Impossible(Code.IMPOSSIBLE_VALUE, "user must not contain control characters or surrogates; remove them")


def check_basket(basket: str) -> None:
    """Refuse what cannot be a basket id."""
    if not _BASKET.fullmatch(basket):
        raise Impossible(Code.IMPOSSIBLE_VALUE, "basket must be the 24 hex digits that GET /GetBasket returned")


_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def check_idempotency_key(key: str) -> None:
    """Refuse a key that a header cannot carry unchanged."""
    if not _KEY.fullmatch(key):
        raise Impossible(
            Code.IMPOSSIBLE_VALUE,
            "Idempotency-Key must have 1 to 255 visible ASCII characters and no blanks, such as a UUID",
        )


def _check_range(name: str, low: int, high: int) -> Callable[[int], None]:
    def check(value: int) -> None:
        if not low <= value <= high:
            raise Impossible(
                Code.IMPOSSIBLE_VALUE, f"{name} must be a whole number from {low} to {high}; it is {value}"
            )

    return check


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "user": check_user,
    "basket": check_basket,
    **{name: _check_range(name, *bounds) for name, bounds in RANGES.items()},
}


def refuse_unknown(kind: type[Message], names: Iterable[str]) -> None:
    """Refuse fields that the schema does not name: a misspelt `attempt` would lose the promise without a word.

    Raises Malformed, naming the field and the one that it may be meant for.
    """
    known = list(kind.DESCRIPTOR.fields_by_name)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name[:_SHOWN].lower(), known, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}"
            raise Malformed(Code.UNKNOWN_FIELD, f"there is no field {shown(name)}; {advice}")


_SHOWN = 64
"""Characters of an unknown name that are looked at, and shown: ours have at most 10."""


def shown(name: str) -> str:
    """Quote a name that a client chose, for a message: it may be long, or hold surrogates, which UTF-8 does not."""
    return repr(name[:_SHOWN].encode("utf-8", "backslashreplace").decode())


def from_json(kind: type[M], fields: Mapping[str, object]) -> M:
    """Read a request from JSON.

    Fields the schema does not name are not looked at (`refuse_unknown` does); null counts as not sent.

    Raises Malformed for a field that is missing or of the wrong JSON type, Impossible for a value that can never be
    valid.
    """
    values = {}
    for field in _fields(kind.DESCRIPTOR):
        value = fields.get(field.name)
        if value is None:
            if not field.is_optional:
                raise Malformed(Code.MISSING_FIELD, f"{field.name} is missing; send {_example(kind)}")
            continue
        _check_json_type(field, value)
        if field.check is not None:
            field.check(value)
        values[field.name] = value
    return kind(**values)


def _check_json_type(field: "_Field", value: object) -> None:
    if field.is_text:
        if not isinstance(value, str):
            raise Malformed(Code.WRONG_TYPE, f"{field.name} must be a JSON string")
        if _SURROGATE.search(value):
            raise Impossible(Code.IMPOSSIBLE_VALUE, f"{field.name} must not contain surrogates; remove them")
    # JSON knows one kind of number and Python counts booleans among the integers: 10.0, 1e3 and true are all refused
    # here, because money that was rounded on its way is wrong without anybody noticing.
    elif type(value) is not int:
        raise Malformed(Code.WRONG_TYPE, f"{field.name} must be a JSON integer, without quotes, fraction or exponent")


def is_text(field: Any) -> bool:
    """Tell whether a field of a request is text; the others are whole numbers."""
    return bool(field.cpp_type == FieldDescriptor.CPPTYPE_STRING)


def _example(kind: type[Message]) -> str:
    examples = {"user": '"Pavel"', "sum": "10", "basket": '"<id from GET /GetBasket>"'}
    shown = [f'"{field.name}": {examples[field.name]}' for field in kind.DESCRIPTOR.fields if not field.has_presence]
    return "{" + ", ".join(shown) + "}"


def from_bytes(kind: type[M], data: bytes) -> M:
    """Read an event's data.

    Raises Malformed for bytes that are no such message, Impossible for a value that no honest event carries,
    Unavailable for one that only a newer version of this code knows.
    """
    try:
        event = kind.FromString(data)
    except DecodeError as error:
        raise Malformed(Code.NOT_AN_EVENT, f"the data is not a {kind.DESCRIPTOR.full_name}: {error}") from error
    for field in _fields(kind.DESCRIPTOR):
        if field.check is not None:
            field.check(getattr(event, field.name))
        if field.is_message and not event.HasField(field.name):
            raise Impossible(Code.WRONG_EVENT, f"{field.name} is missing")
    if isinstance(event, EVENTS):
        _check_event(event)
    return event


def _check_event(event: Event) -> None:
    if event.basket != event.basket.lower():
        raise Impossible(
            Code.WRONG_EVENT, "basket must be in lower-case hex digits in an event, for the event's id is made of it"
        )
    if isinstance(event, PaymentDecided) and event.outcome not in (PAID, DECLINED):
        if event.outcome == OUTCOME_UNSPECIFIED:
            raise Impossible(Code.WRONG_EVENT, "outcome must be PAID or DECLINED")
        # A newer producer, during a rollout. Refused for good, its decision would be lost to us.
        raise Unavailable(
            Code.NEWER_CONTENT, f"outcome {event.outcome} is not known here yet; roll this function out first"
        )
    try:
        happened_at(event)
    except (ValueError, OverflowError) as error:
        raise Impossible(Code.WRONG_EVENT, f"the event's time is out of range: {error}") from error
    if _timestamp(event).nanos % 1_000_000:
        raise Impossible(
            Code.WRONG_EVENT, "the event's time is finer than a millisecond, as no stored time is: it was edited"
        )


TOPICS: Final[Mapping[type[Message], str]] = {kind: _option(kind.DESCRIPTOR, options_pb2.topic) for kind in EVENTS}
"""The topic of each kind of event."""

SOURCES: Final[Mapping[type[Message], str]] = {kind: _option(kind.DESCRIPTOR, options_pb2.source) for kind in EVENTS}
"""The CloudEvent source of each kind of event: who may say such a thing."""

_KEYS: Final = {kind: tuple(_option(kind.DESCRIPTOR, options_pb2.key)) for kind in EVENTS}
_HAPPENED: Final = {kind: str(_option(kind.DESCRIPTOR, options_pb2.happened)) for kind in EVENTS}


def terms(of: Message) -> dict[str, Any]:
    """Return the terms of an order, as a request or an event has them; without those that it does not say."""
    described = of.DESCRIPTOR.fields_by_name
    return {name: getattr(of, name) for name in TERMS if not described[name].has_presence or of.HasField(name)}


def other_term(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return the first term in which two orders differ; None when they are the same order."""
    return next((name for name in TERMS if one.get(name) != other.get(name)), None)


def service(kind: type[Message]) -> str:
    """Return the service that answers a kind of request."""
    return str(_option(kind.DESCRIPTOR.file, options_pb2.service))


def event_id(event: Event) -> str:
    """Return the key that names the event's effect: one per basket and attempt, whatever is delivered how often."""
    return ".".join(str(getattr(event, name)) for name in _KEYS[type(event)])


def happened_at(event: Event) -> datetime:
    """Return when it happened, as it is stored: never when the event was sent."""
    return to_datetime(_timestamp(event))


def _timestamp(event: Event) -> Timestamp:
    at: Timestamp = getattr(event, _HAPPENED[type(event)])
    return at


def to_datetime(timestamp: Timestamp) -> datetime:
    """Return the time in UTC. MongoDB keeps milliseconds, so our own events never carry more."""
    return timestamp.ToDatetime(tzinfo=UTC)


def rfc3339(time: datetime) -> str:
    """Write a time as the Kafka dispatcher would rewrite it: `Z`, and no trailing zeros in the fraction.

    Written so from the start, an event that went through Kafka and one that did not are equal byte for byte.
    """
    text = time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return text.rstrip("0").rstrip(".") + "Z"


def from_document(kind: type[M], document: Mapping[str, Any], **other: Any) -> M:
    """Build a message from a document by the names of its fields, and the messages in it likewise.

    `other` says what has another name in the document, or goes before what it has; None is not set. An id becomes text.

    A field that nobody says is a KeyError, unless it is `optional`: a new field of the schema is never left out unseen.
    """
    values: dict[str, Any] = {}
    for field in _fields(kind.DESCRIPTOR):
        name = field.name
        value: Any = other[name] if name in other else document.get(name) if field.is_optional else document[name]
        if value is None:
            continue
        if field.is_text:
            value = str(value)
        elif field.items is not None:
            value = [from_document(field.items, item) for item in value]
        values[name] = value
    return kind(**values)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    check: Callable[[Any], None] | None
    is_optional: bool
    is_text: bool
    is_list: bool
    is_message: bool
    """It is one message, which is a time."""

    items: type[Message] | None
    """What it is a list of, if it is one of messages."""


@cache
def _fields(kind: Any) -> list[_Field]:
    """Return what there is to know of the fields of a message's descriptor, which is slow to read."""
    return [
        _Field(
            field.name,
            check=CHECKS.get(field.name),
            is_optional=field.containing_oneof is not None,
            is_text=is_text(field) and not field.is_repeated,
            is_list=field.is_repeated,
            is_message=field.message_type is not None and not field.is_repeated,
            items=GetMessageClass(field.message_type) if field.is_repeated and field.message_type else None,
        )
        for field in kind.fields
    ]


def to_json(message: Message) -> dict[str, Any]:
    """Return a response as JSON: every field, int64 as a number, a time as RFC 3339, an unset `optional` as null."""
    return {field.name: _json_value(message, field) for field in _fields(message.DESCRIPTOR)}


def _json_value(message: Message, field: _Field) -> Any:
    value = getattr(message, field.name)
    if field.is_list:
        return list(value) if field.items is None else [to_json(item) for item in value]
    if (field.is_optional or field.is_message) and not message.HasField(field.name):
        return None
    if field.is_message:
        return rfc3339(to_datetime(value))
    return value
