"""What shop.messages promises of any JSON, any bytes, any user and any time."""

import json
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, unquote

import pytest
from bson import Int64, ObjectId
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from shop import messages
from shop.errors import Impossible, Malformed, Rejected
from shop.messages import from_bytes, from_document, from_json, rfc3339, to_json
from shop.schema.billing_pb2 import (
    CreateUserRequest,
    DepositCashRequest,
    GetUserRequest,
    GetUserResponse,
    PaidBasket,
)
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from shop.schema.notify_pb2 import ListRequest
from shop.schema.orders_pb2 import GetBasketRequest, GetOrderRequest, GetOrderResponse, OrderRequest
from tests.support.examples import examples
from wire.event import utc_time

REQUESTS = [
    *(CreateUserRequest, DepositCashRequest, GetUserRequest),
    *(GetBasketRequest, OrderRequest, GetOrderRequest, ListRequest),
]
EVENTS = [PaymentRequested, PaymentDecided]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)
users = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=messages.MAX_USER)
sums = st.integers(1, messages.MAX_SUM)
counts = st.integers(1, messages.MAX_INT64 - 1)
baskets = st.text("0123456789abcdef", min_size=24, max_size=24)
milliseconds = st.integers(-62_135_596_800_000, 253_402_300_799_999)  # the years 1 to 9999
VALID: dict[str, st.SearchStrategy[Any]] = {
    "user": users,
    "sum": sums,
    "basket": baskets,
    "attempt": counts,
    "limit": st.integers(1, 1000),
    "before": st.text(st.characters(exclude_categories=["Cs"])),
}


@st.composite
def requests(draw: st.DrawFn, kind: type[Message]) -> dict[str, object]:
    """Return the fields of a valid request; what is optional may be left out or null."""
    fields: dict[str, object] = {}
    for field in kind.DESCRIPTOR.fields:
        if not field.has_presence or draw(st.booleans()):
            fields[field.name] = draw(VALID[field.name])
        elif draw(st.booleans()):
            fields[field.name] = None
    return fields


@st.composite
def events(draw: st.DrawFn, kind: type[Message]) -> Any:
    """Return a valid event."""
    event: Any = kind(user=draw(users), basket=draw(baskets), number=draw(counts), attempt=draw(counts), sum=draw(sums))
    time = event.ordered_at if isinstance(event, PaymentRequested) else event.decided_at
    time.FromMilliseconds(draw(milliseconds))
    if isinstance(event, PaymentDecided):
        event.outcome = draw(st.sampled_from([PAID, DECLINED]))
        event.reason = draw(st.text(st.characters(exclude_categories=["Cs"])))
    return event


@pytest.mark.parametrize("kind", REQUESTS)
@examples(50)
@given(data=st.data())
def test_a_valid_request_is_read_as_it_was_sent(kind: type[Message], data: st.DataObject) -> None:
    """Through JSON and back, nothing is lost or changed; what is not named by the schema is not looked at."""
    fields = data.draw(requests(kind))
    unknown = data.draw(st.dictionaries(st.text(min_size=7), json_values, max_size=2))
    sent = json.loads(json.dumps({**unknown, **fields}))
    assert {name: value for name, value in to_json(from_json(kind, sent)).items() if value is not None} == {
        name: value for name, value in fields.items() if value is not None
    }


@pytest.mark.parametrize("kind", REQUESTS)
@examples(100)
@given(data=st.data())
def test_any_json_object_is_read_or_rejected(kind: type[Message], data: st.DataObject) -> None:
    """Whatever the values are; and what was read is in the ranges that the rest of the shop counts on."""
    values = st.one_of(json_values, *VALID.values(), st.integers(-(2**70), 2**70))
    fields = data.draw(st.dictionaries(st.sampled_from(sorted(VALID)), values))
    try:
        request = to_json(from_json(kind, fields))
    except (Malformed, Impossible):
        return
    for name, value in request.items():
        if value is not None and (check := messages.CHECKS.get(name)):
            check(value)
        assert value is None or type(value) is type(fields[name])


@examples(300)
@given(user=st.text(st.characters(), max_size=140))
@example("")
@example("x" * 128)
@example("😀" * 129)
@example("\x85")
@example("\ud800")
@example("\u2028")
def test_a_user_is_1_to_128_characters_that_are_no_controls_and_no_surrogates(user: str) -> None:
    """As Unicode classes them."""
    allowed = 1 <= len(user) <= 128 and not {unicodedata.category(character) for character in user} & {"Cc", "Cs"}
    assert passes(messages.check_user, user) == allowed


def passes(check: Callable[[Any], None], value: object) -> bool:
    """Tell whether a check raises nothing."""
    try:
        check(value)
    except Impossible:
        return False
    return True


@examples(100)
@given(user=users)
def test_a_user_percent_encoded_is_visible_ascii_and_comes_back(user: str) -> None:
    """As an attribute of an event it passes through Kafka unchanged, and within the 8 KiB of headers."""
    encoded = quote(user, safe="")
    assert re.fullmatch(r"[\x21-\x7e]+", encoded)
    assert unquote(encoded, errors="strict") == user
    assert len(encoded) <= messages.MAX_USER * 12


@examples(300)
@given(milliseconds=st.integers(0, 253_402_300_799_999))
@example(0)
@example(100)
@example(1785585600120)
def test_a_time_is_written_as_the_dispatcher_would(milliseconds: int) -> None:
    """So that an event is the same byte for byte before and after Kafka."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    assert rfc3339(moment) == utc_time(milliseconds)


@examples(300)
@given(
    moment=st.datetimes(timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))))
)
@example(datetime(999, 1, 1, tzinfo=UTC))
@example(datetime(2026, 8, 1, 12, 0, 10, tzinfo=UTC))
def test_a_time_that_was_written_can_be_read(moment: datetime) -> None:
    """In any zone and any year; it has neither an offset nor zeros at its end."""
    try:
        moment.astimezone(UTC)
    except OverflowError:  # the first or last day of the calendar, on the other side of it in UTC
        return
    text = rfc3339(moment)
    assert datetime.fromisoformat(text) == moment
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?Z", text)


@pytest.mark.parametrize("kind", EVENTS)
@examples(100)
@given(data=st.data())
def test_a_valid_event_is_read_as_it_was_written(kind: type[Message], data: st.DataObject) -> None:
    """And written again it is the same bytes."""
    event = data.draw(events(kind))
    written = event.SerializeToString(deterministic=True)
    assert from_bytes(kind, written) == event
    assert from_bytes(kind, written).SerializeToString(deterministic=True) == written
    assert messages.event_id(event) == f"{event.basket}.{event.attempt}"


@pytest.mark.parametrize("kind", EVENTS)
@examples(200)
@given(data=st.data())
def test_any_bytes_are_read_or_rejected(kind: type[Message], data: st.DataObject) -> None:
    """What was read passes every check, and its time can be stored and written."""
    written = data.draw(events(kind)).SerializeToString(deterministic=True)
    at = data.draw(st.integers(0, len(written)))
    noise = data.draw(st.binary(max_size=20))
    try:
        event: Any = from_bytes(kind, written[:at] + noise + written[at + len(noise) :])
    except (Malformed, Impossible):
        return
    messages.check_user(event.user)
    assert 1 <= event.sum <= messages.MAX_SUM
    assert event.basket == event.basket.lower()
    time = messages.happened_at(event)
    assert time.microsecond % 1000 == 0
    assert datetime.fromisoformat(rfc3339(time)) == time


def test_an_answer_has_every_field_and_null_for_what_is_not_set() -> None:
    """A client finds all names there are; a list that is empty is a list."""
    assert to_json(GetUserResponse()) == {
        "status": False,
        "message": "",
        "balance": 0,
        "paid_baskets": [],
        "deposits": [],
    }
    unset = to_json(GetOrderResponse())
    assert [name for name, value in unset.items() if value is None] == [
        "sum",
        "reason",
        "ordered_at",
        "decided_at",
        "decline_code",
    ]


@examples(50)
@given(balance=st.integers(0, messages.MAX_BALANCE))
@example(messages.MAX_BALANCE)
def test_a_balance_is_exact_for_every_reader_of_json(balance: int) -> None:
    """Also for those that read all numbers as doubles."""
    text = json.dumps(to_json(GetUserResponse(balance=balance)))
    assert json.loads(text, parse_int=float)["balance"] == balance == int(json.loads(text, parse_int=float)["balance"])


@pytest.mark.parametrize(
    ("kind", "fields", "refusal", "says"),
    [
        (OrderRequest, {}, Malformed, '{"user": "Pavel", "sum": 10, "basket": "<id from GET /GetBasket>"}'),
        (OrderRequest, {"user": "Pavel", "sum": None, "basket": "a" * 24}, Malformed, "sum is missing"),
        (DepositCashRequest, {"user": "Pavel", "sum": True}, Malformed, "JSON integer"),
        (DepositCashRequest, {"user": "Pavel", "sum": 10.0}, Malformed, "JSON integer"),
        (DepositCashRequest, {"user": "Pavel", "sum": 0}, Impossible, "from 1 to 1000000000000; it is 0"),
        (CreateUserRequest, {"user": ""}, Impossible, "it has 0"),
        (ListRequest, {"before": "\ud800"}, Impossible, "before must not contain surrogates"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(
    kind: type[Message], fields: dict[str, object], refusal: type[Rejected], says: str
) -> None:
    """The text is what the client reads."""
    with pytest.raises(refusal, match=re.escape(says)):
        from_json(kind, fields)


# --- documents -------------------------------------------------------------------------------------------------------

TIME = datetime(2026, 8, 1, 12, tzinfo=UTC)
PAID_BASKET = {"basket": ObjectId("a" * 24), "number": Int64(2), "attempt": Int64(1), "sum": Int64(10), "paid_at": TIME}


def test_a_document_becomes_a_message_by_the_names_of_its_fields() -> None:
    """Ids become text, numbers and times stay what they are; what the message does not have is not looked at."""
    account = {"_id": "Pavel", "balance": Int64(90), "paid_baskets": [PAID_BASKET], "deposits": []}
    assert from_document(GetUserResponse, account, status=True, message="Pavel") == GetUserResponse(
        status=True,
        message="Pavel",
        balance=90,
        paid_baskets=[PaidBasket(basket="a" * 24, number=2, attempt=1, sum=10, paid_at=TIME)],
    )


def test_what_is_said_beside_a_document_goes_before_it() -> None:
    """None is not set, though the document has it."""
    document = {**PAID_BASKET, "user": "Pavel", "ordered_at": TIME, "epoch": Int64(7)}
    assert from_document(PaymentRequested, document, number=3, epoch=None) == PaymentRequested(
        user="Pavel", basket="a" * 24, number=3, attempt=1, sum=10, ordered_at=TIME
    )


def test_only_an_optional_field_may_be_said_by_nobody() -> None:
    """A field that is added to a message and forgotten in a document is a bug that shows at once."""
    basket = {"number": Int64(1), "attempt": Int64(0)}
    said = {"status": True, "message": "open", "outcome": "none"}
    never_ordered = from_document(GetOrderResponse, basket, basket=ObjectId("a" * 24), **said)
    assert never_ordered == GetOrderResponse(basket="a" * 24, number=1, **said)
    with pytest.raises(KeyError, match="ordered_at"):
        from_document(PaymentRequested, PAID_BASKET, user="Pavel", epoch=None)
