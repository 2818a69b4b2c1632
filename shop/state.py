"""Say what MongoDB holds: the collections, what their documents look like, and the indexes that the protocol rests on.

Written here once: `shop.setup` makes them, `shop.store.readiness` looks whether they are there. A document's shape is a
type; the validators are read off it. They are the last line: whatever a bug or a hand writes, a balance is a whole
number and never negative. The three services share no collection; each has a `meta`, which holds the epoch.
`orders` also holds what operators did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from bson import Int64, ObjectId

# --- names -----------------------------------------------------------------------------------------------------------

ORDERS: Final = "orders"
BILLING: Final = "billing"
NOTIFY: Final = "notify"
SERVICES: Final = (ORDERS, BILLING, NOTIFY)

BASKETS: Final = "baskets"
USERS: Final = "users"
PAID_BASKETS: Final = "paid_baskets"
DEPOSITS: Final = "deposits"
NOTIFICATIONS: Final = "notifications"
META: Final = "meta"
ACTIONS: Final = "actions"

EPOCH_ID: Final = "epoch"
"""The `_id` of the one document of each service's `meta`; without it the epoch is 0."""

Status = Literal["open", "ordered", "paid"]
"""The status of a basket."""

OPEN: Final = "open"
ORDERED: Final = "ordered"
PAID_STATUS: Final = "paid"

Outcome = Literal["paid", "declined"]
"""What was decided of an attempt."""

PAID_OUTCOME: Final = "paid"
DECLINED_OUTCOME: Final = "declined"

NO_OUTCOME: Final = "none"
"""What a client is told of an attempt that was not ordered."""

PENDING_OUTCOME: Final = "pending"
"""What a client is told of an attempt that is not decided."""

INSUFFICIENT_FUNDS: Final = "insufficient funds"
UNKNOWN_USER: Final = "unknown user"

_DECLINE_CODES: Final[Mapping[str, str]] = {INSUFFICIENT_FUNDS: "insufficient_funds", UNKNOWN_USER: "no_account"}


def decline_code(reason: str) -> str:
    """Return why an attempt was declined, for programs; `other` for a reason that only a newer billing gives."""
    return _DECLINE_CODES.get(reason, "other")


# --- documents -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AtLeast:
    """The smallest that a number may be."""

    low: int


@dataclass(frozen=True)
class AtMost:
    """The longest that a text may be."""

    length: int


Count = Annotated[Int64, AtLeast(1)]

Traceparent = Annotated[str, AtMost(55)]
"""A trace as W3C Trace Context writes it, for looking at alone."""


class Terms(TypedDict):
    """What makes two orders the same, whatever is repeated: stored, compared and told as a whole, never field by field.

    The fields of events.proto that have the option `term`, as MongoDB keeps them.
    """

    sum: Count


def kept(values: Mapping[str, object]) -> dict[str, Any]:
    """Return values as MongoDB keeps them: a whole number is an Int64, however small it is."""
    return {name: Int64(value) if type(value) is int else value for name, value in values.items()}


class EarlierDecline(Terms):
    """What is kept of a declined attempt when the basket is ordered again: as much as the basket has of it."""

    attempt: Count
    reason: NotRequired[str]
    ordered_at: NotRequired[datetime]
    decided_at: NotRequired[datetime]
    settled_at: NotRequired[datetime]
    traceparent: NotRequired[Traceparent]


class Basket(TypedDict):
    """A basket, and its latest order; what is `NotRequired` comes with the first one."""

    _id: ObjectId
    user: str
    number: Count
    status: Status
    attempt: Annotated[Int64, AtLeast(0)]
    sum: NotRequired[Count]
    ordered_at: NotRequired[datetime]
    resend_at: NotRequired[datetime]
    request: NotRequired[ObjectId]
    decided_at: NotRequired[datetime]  # by billing, as it says
    settled_at: NotRequired[datetime]  # here, after that
    reason: NotRequired[str]
    traceparent: NotRequired[Traceparent]  # where it was ordered; what was ordered without one has none
    declines: NotRequired[list[EarlierDecline]]


class Attempt(TypedDict):
    """One attempt to pay a basket."""

    number: Count
    basket: ObjectId
    attempt: Count


class PaidBasket(Attempt, Terms):
    """A charge."""

    paid_at: datetime
    epoch: NotRequired[Count]  # only what was decided after a restore has one


class Declined(Attempt, Terms):
    """A decline."""

    reason: str
    decided_at: datetime
    epoch: NotRequired[Count]


class Deposit(TypedDict):
    """A deposit; one that came without a key has an id in its place."""

    key: str | ObjectId
    sum: Count
    at: datetime


class Archived(TypedDict, total=False):
    """How much of an account's arrays was moved to their archives."""

    paid: Int64
    paid_baskets: Int64
    deposited: Int64
    deposits: Int64


class Account(TypedDict):
    """A user: an account, or, without a balance, a stub that remembers a decline of a user that did not exist yet."""

    _id: str
    balance: NotRequired[Annotated[Int64, AtLeast(0)]]
    paid_baskets: NotRequired[list[PaidBasket]]
    archived_through: NotRequired[Count]
    declined: NotRequired[Declined]
    deposits: NotRequired[list[Deposit]]
    archived: NotRequired[Archived]


class Owned(TypedDict):
    """What an archive says first of an entry: whose it is."""

    user: str


class Position(TypedDict, total=False):
    """How much was moved with an entry, its own included; archives of before positions existed have none."""

    epoch: Count
    position: Count
    through: Count


class ArchivedPaidBasket(Owned, Attempt, Terms, Position):
    """A charge in the archive."""

    paid_at: datetime


class ArchivedDeposit(Owned, Deposit, Position):
    """A deposit in the archive."""


class Effect(TypedDict):
    """One attempt to pay a basket, by the id of its events."""

    _id: str
    user: str
    basket: ObjectId
    attempt: Count


class Notification(Effect, Terms):
    """What a customer was told of an attempt."""

    outcome: Outcome
    reason: str
    decided_at: datetime
    recorded_at: datetime


class Meta(TypedDict):
    """The epoch of a service's database."""

    _id: Literal["epoch"]
    epoch: Count
    restored_at: datetime


class Action(TypedDict):
    """What a person did to the shop, with an operator's tool: recorded before it is done, its outcome afterwards."""

    _id: ObjectId
    at: datetime
    who: str
    verb: str
    why: str
    about: list[str]
    """The baskets, customers or consumers that it was about; empty for all."""

    outcome: str
    """Empty until it is known."""

    problems: NotRequired[Int64]
    """How many a verification of everybody has found."""


# --- validators ------------------------------------------------------------------------------------------------------

_BSON_TYPES: Mapping[Any, str] = {Int64: "long", datetime: "date", str: "string", ObjectId: "objectId"}


def validator(shape: Any) -> dict[str, Any]:
    """Return the JSON schema, as MongoDB has it, of a type: of a document, or of what a field of one may be."""
    if is_typeddict(shape):
        hints = get_type_hints(shape, include_extras=True)
        required = [name for name in hints if name in shape.__required_keys__]
        properties = {name: validator(hint) for name, hint in hints.items()}
        # MongoDB refuses an empty list of what is required.
        return {"bsonType": "object", "properties": properties} | ({"required": required} if required else {})
    origin, arguments = get_origin(shape), get_args(shape)
    if origin is NotRequired:
        return validator(arguments[0])
    if origin is Annotated:
        bound = (
            {"minimum": arguments[1].low} if isinstance(arguments[1], AtLeast) else {"maxLength": arguments[1].length}
        )
        return validator(arguments[0]) | bound
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"bsonType": "array", "items": validator(arguments[0])}
    if origin in (Union, UnionType):
        return {"bsonType": [_BSON_TYPES[each] for each in arguments]}
    return {"bsonType": _BSON_TYPES[shape]}


# --- collections -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Index:
    """An index as it must be: the fields with 1 (ascending) or -1, as MongoDB writes it."""

    name: str
    keys: Mapping[str, int]
    unique: bool = False
    only: Mapping[str, Any] | None = None
    """What a document must be like to be in it (`partialFilterExpression`)."""

    for_operators: bool = False
    """No function rests on it: one that is missing makes the console slow, and stops nobody."""


@dataclass(frozen=True)
class Collection:
    """A collection as it must be."""

    service: str
    name: str
    indexes: list[Index]
    shape: Any
    """What a document of it is: a TypedDict."""

    user: str | None = "user"
    """The field that holds the user, by which a large shop is sharded; None for what is not about users."""

    @property
    def schema(self) -> dict[str, Any]:
        """Its validator."""
        return validator(self.shape)


def _archive(name: str, key: str, shape: Any) -> Collection:
    """Return the archive of an array of `billing.users`."""
    return Collection(
        BILLING,
        name,
        [
            Index(f"user_{key}", {"user": 1, key: 1}, unique=True),
            # Whether the archive is whole is one lookup: is the entry there whose position is the count? Not unique:
            # during a rollout functions that know no positions insert beside those that do, and after a restore an
            # archive may hold entries that the account does not count. A move must not fail over either.
            Index("user_position", {"user": 1, "position": 1}),
        ],
        shape,
    )


COLLECTIONS = [
    Collection(
        ORDERS,
        BASKETS,
        [
            # One basket per number: what makes any number of concurrent GetBasket calls make one.
            Index("user_number", {"user": 1, "number": 1}, unique=True),
            # What is on its way is little, whatever the history: resend looks at nothing else.
            Index("resend_at_ordered", {"resend_at": 1}, only={"status": ORDERED}),
            # What operators look at: how many are in each status, and the oldest or latest of them, page by page.
            Index("status_ordered_at", {"status": 1, "ordered_at": 1, "_id": 1}, for_operators=True),
            # Whose order a trace is: a client is given it, and a log has it. Few baskets have an earlier attempt.
            Index("traceparent", {"traceparent": 1}, only={"traceparent": {"$exists": True}}, for_operators=True),
            Index(
                "declines_traceparent",
                {"declines.traceparent": 1},
                only={"declines.traceparent": {"$exists": True}},
                for_operators=True,
            ),
        ],
        Basket,
    ),
    Collection(BILLING, USERS, [], Account, user="_id"),
    _archive(PAID_BASKETS, "basket", ArchivedPaidBasket),
    _archive(DEPOSITS, "key", ArchivedDeposit),
    Collection(
        NOTIFY,
        NOTIFICATIONS,
        [
            Index("user_recorded_at", {"user": 1, "recorded_at": -1, "_id": -1}),
            Index("recorded_at", {"recorded_at": -1, "_id": -1}),
        ],
        Notification,
    ),
    *(Collection(service, META, [], Meta, user=None) for service in SERVICES),
    Collection(
        ORDERS,
        ACTIONS,
        [
            # What was done to this basket, and when a verb was last used.
            Index("about", {"about": 1, "_id": -1}, for_operators=True),
            Index("verb", {"verb": 1, "_id": -1}, for_operators=True),
        ],
        Action,
        user=None,
    ),
]


def of(service: str) -> list[Collection]:
    """Return the collections of a service."""
    return [collection for collection in COLLECTIONS if collection.service == service]
