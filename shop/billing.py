"""Charge an ordered basket once, count a deposit once: one atomic update of the user document acts and remembers.

Promises, against any repetition, reordering and loss:

- a basket is charged at most once, and every delivery of its event is answered with the same decision;
- a decline is final: a top-up and a redelivery do not charge what the customer was told was declined;
- balance = deposits - paid, never negative, and the user document alone proves it.

State: `billing.users`, one document per user, whose two arrays are what has been done lately. What they outgrow moves
to `billing.paid_baskets` and `billing.deposits`. Presence decides, absence does not: a basket is new only when its
number is above everything that was ever archived, which the user document knows by itself.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import Int64, ObjectId
from pymongo import ReturnDocument, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError

from shop import mongo, settings
from shop.errors import Contradiction, Impossible, NotFound, Unavailable
from shop.messages import MAX_BALANCE
from shop.mongo import NOW, Document, array, literal, when
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested

SERVICE = "billing"

INSUFFICIENT_FUNDS = "insufficient funds"
UNKNOWN_USER = "unknown user"

_log = logging.getLogger(__name__)


def _users() -> AsyncCollection[Document]:
    return mongo.collection(SERVICE, "users")


def _archive_of(name: str) -> AsyncCollection[Document]:
    return mongo.collection(SERVICE, name)


# An account is a user document with a balance. Without one it is a stub, which remembers a decline of a user that did
# not exist yet; CreateUser completes it, and nothing else takes it for an account.
_ACCOUNT = {"balance": {"$exists": True}}


# --- CreateUser, GetUser ---------------------------------------------------------------------------------------------


async def create_user(user: str) -> bool:
    """Make an account with balance 0; return False when it was there already."""
    before = await _users().find_one_and_update(
        {"_id": user},
        [{"$set": {"balance": {"$ifNull": ["$balance", Int64(0)]}}}],
        upsert=True,
        return_document=ReturnDocument.BEFORE,
    )
    return before is None or "balance" not in before


async def find_account(user: str) -> Document:
    """Return a user's account. Raises NotFound when there is none."""
    account = await mongo.latest(_users()).find_one({"_id": user, **_ACCOUNT})
    if account is None:
        raise NotFound("there is no such user; create it with POST /CreateUser")
    return account


# --- decision --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What billing says of one attempt, now and whenever it is asked again."""

    event: PaymentDecided | None
    """To emit; None for an older attempt, whose decision was consumed before the later one could exist."""

    account: Document
    """The user document after the update."""


async def decide(requested: PaymentRequested) -> Decision:
    """Charge or decline an attempt to pay, once; say the same about it ever after.

    One round trip: a find-and-update with its conditions inside. The decision is what the document after it says, so it
    does not matter whether this delivery made it or an earlier one.

    Raises Contradiction for what no order of ours can have led to: it goes to the dead letters.
    """
    async with mongo.session() as session:
        account = await mongo.upsert(_users(), {"_id": requested.user}, _decide_it(requested), session)
        return Decision(event=await _decided(requested, account, session), account=account)


def _decide_it(requested: PaymentRequested) -> mongo.Pipeline:
    """When neither paid, nor archived, nor declined at this attempt or a later one: charge, or remember the decline."""
    basket, attempt = ObjectId(requested.basket), Int64(requested.attempt)
    sum_, number = Int64(requested.sum), Int64(requested.number)
    is_paid = {"$in": [basket, array("paid_baskets.basket")]}
    is_archived = {"$lte": [number, {"$ifNull": ["$archived_through", Int64(0)]}]}
    is_declined = {"$and": [{"$eq": ["$declined.basket", basket]}, {"$gte": ["$declined.attempt", attempt]}]}
    undecided = {"$not": [{"$or": [is_paid, is_archived, is_declined]}]}
    can_pay = {"$gte": [{"$ifNull": ["$balance", Int64(-1)]}, sum_]}
    charge = {"$and": [undecided, can_pay]}
    decline = {"$and": [undecided, {"$not": [can_pay]}]}
    entry = {"number": number, "basket": basket, "attempt": attempt, "sum": sum_}
    reason = {"$cond": [{"$eq": [{"$type": "$balance"}, "missing"]}, UNKNOWN_USER, INSUFFICIENT_FUNDS]}
    changes = {
        **when(
            charge,
            {
                "balance": {"$subtract": ["$balance", sum_]},
                "paid_baskets": {"$concatArrays": [array("paid_baskets"), [{**entry, "paid_at": NOW}]]},
            },
        ),
        **when(decline, {"declined": {**entry, "reason": reason, "decided_at": NOW}}),
    }
    return [{"$set": changes}]


async def _decided(
    requested: PaymentRequested, account: Document, session: AsyncClientSession
) -> PaymentDecided | None:
    """Read the decision off the state: presence decides, and the archive is asked only about a number it may hold."""
    basket = ObjectId(requested.basket)
    paid = _find(account.get("paid_baskets", ()), "basket", basket)
    if paid is None and requested.number <= account.get("archived_through", 0):
        # The same session as the update that sent us here: the archive is read as it was when that update saw the
        # number.
        archive = _archive_of("paid_baskets")
        paid = await archive.find_one({"user": requested.user, "basket": basket}, session=session)
        if paid is None:
            raise Contradiction(
                f"basket {basket} has number {requested.number}, all baskets up to {account['archived_through']} are "
                "archived as paid, yet it is not among them"
            )
    remembered = account["declined"] if paid is None else paid
    if requested.attempt < remembered["attempt"]:
        return None
    if requested.attempt > remembered["attempt"]:
        raise Contradiction(f"attempt {requested.attempt} was ordered, yet attempt {remembered['attempt']} was paid")
    if requested.sum != remembered["sum"]:
        raise Contradiction(
            f"attempt {requested.attempt} was ordered for {requested.sum}, yet decided for {remembered['sum']}"
        )
    return PaymentDecided(
        user=requested.user,
        basket=requested.basket,
        number=remembered["number"],
        attempt=remembered["attempt"],
        sum=remembered["sum"],
        outcome=DECLINED if paid is None else PAID,
        reason=remembered["reason"] if paid is None else "",
        decided_at=remembered["decided_at"] if paid is None else paid["paid_at"],
    )


# --- DepositCash -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deposited:
    """What became of a deposit."""

    balance: int
    replayed: bool
    account: Document
    """The user document before the update."""


_RACES = 10
"""How often the account may change between two looks of one deposit: the archive grows with each 32nd deposit only."""


async def deposit(user: str, sum_: int, key: str | None) -> Deposited:
    """Add to a balance; with a key, once.

    One round trip: a find-and-update with its conditions inside, returning the document before it, which tells
    everything. A key that the document does not hold may be in the archive: a keyed deposit changes something only
    while the archive is as large as it was when we looked.

    Raises NotFound without an account, Contradiction for a key that came with another sum, Impossible for a balance
    past MAX_BALANCE, Unavailable (a repeat is not safe) when the outcome of a deposit without a key is unknown.
    """
    try:
        async with mongo.session() as session:
            return await _deposit(user, sum_, key, session)
    except PyMongoError as error:
        if key is not None:
            raise
        raise Unavailable(
            "it is unknown whether the deposit was made; look at GET /GetUser before you repeat it, and send an "
            "Idempotency-Key next time: with one a repeat is always safe",
            repeat_safe=False,
        ) from error


async def _deposit(user: str, sum_: int, key: str | None, session: AsyncClientSession) -> Deposited:
    account = {"_id": user, **_ACCOUNT}
    looked_through = 0  # how many archived deposits are known not to have the key
    for _ in range(_RACES):
        before = await _users().find_one_and_update(
            account,
            _credit_it(sum_, key, looked_through),
            return_document=ReturnDocument.BEFORE,
            session=session,
        )
        if before is None:
            if await mongo.is_latest(_users(), account, None):
                raise NotFound("there is no such user; create it with POST /CreateUser")
            continue
        known = _find(before.get("deposits", ()), "key", key)
        archived = before.get("archived", {}).get("deposits", 0)
        if known is None and key is not None and archived != looked_through:
            known = await _archive_of("deposits").find_one({"user": user, "key": key}, session=session)
            if known is None:
                looked_through = archived
                continue
        if known is not None:
            if known["sum"] != sum_:
                raise Contradiction(f"this Idempotency-Key deposited {known['sum']}, not {sum_}; send a new key")
            return Deposited(balance=int(before["balance"]), replayed=True, account=before)
        if before["balance"] + sum_ > MAX_BALANCE:
            if await mongo.is_latest(_users(), account, before):
                raise Impossible(f"the balance would pass {MAX_BALANCE}; deposit less")
            continue
        return Deposited(balance=before["balance"] + sum_, replayed=False, account=before)
    raise Unavailable("this user's account changes faster than it can be read; try again")


def _credit_it(sum_: int, key: str | None, looked_through: int) -> mongo.Pipeline:
    """When the key is new to the document and to the archive we looked at, and the balance stays exact: credit."""
    conditions: list[Mapping[str, Any]] = [{"$lte": ["$balance", Int64(MAX_BALANCE - sum_)]}]
    if key is not None:
        conditions += [
            {"$not": [{"$in": [literal(key), array("deposits.key")]}]},
            {"$eq": [{"$ifNull": ["$archived.deposits", Int64(0)]}, Int64(looked_through)]},
        ]
    # A deposit without a key is recorded under an id, which no key can equal: keys are strings.
    entry = {"key": literal(ObjectId() if key is None else key), "sum": Int64(sum_), "at": NOW}
    changes = {
        "balance": {"$add": ["$balance", Int64(sum_)]},
        "deposits": {"$concatArrays": [array("deposits"), [entry]]},
    }
    return [{"$set": when({"$and": conditions}, changes)}]


# --- bounded arrays --------------------------------------------------------------------------------------------------


async def archive_paid_baskets(account: Document) -> None:
    """Move the oldest paid baskets to the archive when there are many. A failure is left to the next payment."""
    moved = _overdue(account, "paid_baskets")
    if not moved:
        return
    through = account.get("archived_through")
    await _archive(
        account,
        "paid_baskets",
        "basket",
        moved,
        as_read={"archived_through": through},
        changes={
            "$max": {"archived_through": max(entry["number"] for entry in moved)},
            "$inc": {"archived.paid": Int64(sum(entry["sum"] for entry in moved))},
        },
    )


async def archive_deposits(account: Document) -> None:
    """Move the oldest deposits to the archive when there are many. A failure is left to the next deposit."""
    moved = _overdue(account, "deposits")
    if not moved:
        return
    await _archive(
        account,
        "deposits",
        "key",
        moved,
        as_read={"archived.deposits": account.get("archived", {}).get("deposits")},
        changes={
            "$inc": {
                "archived.deposited": Int64(sum(entry["sum"] for entry in moved)),
                "archived.deposits": Int64(len(moved)),
            }
        },
    )


def _overdue(account: Document, name: str) -> list[Document]:
    limits = settings.array_limits()
    entries: list[Document] = account.get(name, [])
    return entries[: limits.batch] if len(entries) >= limits.limit else []


async def _archive(
    account: Document,
    name: str,
    key: str,
    moved: list[Document],
    *,
    as_read: Mapping[str, object],
    changes: Mapping[str, Mapping[str, object]],
) -> None:
    """Insert into the archive, then pull from the document. A crash between the two leaves both, which harms nobody.

    The pull is conditional on the archive's measure being as read (None: there was none), so that of two that move the
    same entries one counts them.
    """
    user = account["_id"]
    upserts = [
        UpdateOne({"user": user, key: entry[key]}, {"$setOnInsert": {**entry, "user": user}}, upsert=True)
        for entry in moved
    ]
    try:
        await _archive_of(name).bulk_write(upserts, ordered=False)
        await _users().update_one(
            {"_id": user, **as_read},
            {"$pull": {name: {key: {"$in": [entry[key] for entry in moved]}}}, **changes},
        )
    except PyMongoError as error:
        _log.warning("archiving %s failed, the next one tries again: %s", name, error)


def _find(entries: Any, key: str, value: object) -> Document | None:
    return next((entry for entry in entries if entry[key] == value), None)
