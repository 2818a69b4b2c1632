"""Charge an ordered basket once, count a deposit once: one atomic update of the user document acts and remembers.

Promises, against any repetition, reordering and loss, and against a forged or replayed event:

- a basket is charged at most once, and every delivery of its event is answered with the same decision;
- a decline is final: a top-up and a redelivery do not charge what the customer was told was declined;
- balance = deposits - paid, never negative, and the user document alone proves it.

State: `billing.users`, one document per user, whose two arrays are what has been done lately. What they outgrow moves
to `billing.paid_baskets` and `billing.deposits` (`shop.archive`). What an event says of itself proves nothing, its
number and attempt included: presence decides, and absence only together with the archive, as it was when we looked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson import Int64, ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from shop.archive import DEPOSITS, PAID_BASKETS, Moved
from shop.errors import Code, Contradiction, Impossible, NotFound, Rejected, Unavailable
from shop.messages import MAX_BALANCE, from_document, other_term, terms
from shop.schema.billing_pb2 import GetUserRequest, GetUserResponse
from shop.schema.events_pb2 import DECLINED, PAID, Outcome, PaymentDecided, PaymentRequested
from shop.state import BILLING, INSUFFICIENT_FUNDS, UNKNOWN_USER, USERS, kept
from shop.store import change, client, shared
from shop.store.client import Document
from shop.store.pipeline import NOW, Pipeline, array, literal, merge_when, when

SERVICE = BILLING


def _users() -> AsyncCollection[Document]:
    return client.collection(SERVICE, USERS)


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


SHOWN = 64
"""How many of a user's latest paid baskets, and of the latest deposits, are shown."""


async def show_user(request: GetUserRequest) -> GetUserResponse:
    """Show a user's balance, latest paid baskets and latest deposits. Raises NotFound without an account."""
    account = await find_account(request.user)
    latest = {name: account.get(name, [])[: -SHOWN - 1 : -1] for name in ("paid_baskets", "deposits")}
    return from_document(GetUserResponse, account, status=True, message=request.user, **latest)


async def find_account(user: str) -> Document:
    """Return a user's account. Raises NotFound when there is none."""
    account = await shared.look(_users(), {"_id": user})
    if account is None or "balance" not in account:
        raise NotFound(Code.UNKNOWN_USER, "there is no such user; create it with POST /CreateUser")
    return account


# --- decision --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What billing says of one attempt, now and whenever it is asked again."""

    event: PaymentDecided | None
    """To emit; None for an older attempt, whose decision was consumed before the later one could exist."""

    account: Document
    """The user document after the update, perhaps shown in part."""

    first: bool = True
    """It seems that it was made now, and not before: for the log alone."""


Emit = Callable[[PaymentDecided, str | None], Awaitable[None]]
"""Emits an event, which belongs to a trace, or raises Unavailable when it is unknown whether it did."""


async def charge(requested: PaymentRequested, emit: Emit, traceparent: str | None) -> str:
    """Decide an attempt to pay, tell the decision in the trace of its order, and archive what the account has outgrown.

    Returns what became of the attempt, for the log: `paid`, `declined`, `replayed` (decided before) or `older`.

    Raises what `decide` raises, and Unavailable when it is unknown whether the decision was told: tell it again.
    """
    decision = await decide(requested)
    if decision.event is None:
        return "older"
    await emit(decision.event, traceparent)
    await PAID_BASKETS.bound(decision.account)
    return Outcome.Name(decision.event.outcome).lower() if decision.first else "replayed"


async def decide(requested: PaymentRequested) -> Decision:
    """Charge or decline an attempt to pay, once; say the same about it ever after.

    One round trip, shared with who comes at the same time: an update with its conditions inside. The decision is what
    the document says after it, so it does not matter whether this delivery made it or an earlier one. Presence decides:
    what is not there may have been archived since. Then the update comes again by itself; a basket that may be in the
    archive takes a look there, and one more update, on the condition that nothing was moved since the look.

    Raises Contradiction for what no order of ours can have led to: it goes to the dead letters. Raises Unavailable when
    the archive is not complete, or holds more than the account moved there.
    """
    basket = ObjectId(requested.basket)
    key, is_first = {"_id": requested.user}, requested.attempt == 1  # a later one finds what it comes after
    shown = shared.Shown(("declined", "archived_through"), PAID_BASKETS.array, PAID_BASKETS.key, basket)

    def may_hold(account: Document) -> bool:
        return bool(requested.number <= account.get("archived_through", 0))

    def decided_at(account: Document) -> datetime | None:
        entries = [*account.get("paid_baskets", ()), account.get("declined", {})]
        its = (each for each in entries if each.get("basket") == basket and each["attempt"] == requested.attempt)
        entry: Document = next(its, {})
        return entry.get("paid_at") or entry.get("decided_at")

    decide_it = shared.Statement(key, _decide_it(requested, None), upsert=is_first, shown=shown, done_at=decided_at)
    seen = await shared.apply(_users(), decide_it)
    if seen is not None and (account := seen.document) is not None:
        paid = next((entry for entry in account["paid_baskets"] if entry["basket"] == basket), None)
        with suppress(Rejected):
            if (paid or not may_hold(account)) and (decision := _decision(requested, account, paid)) is not None:
                return replace(decision, first=seen.first)

    async def update(looked: Moved | None, session: AsyncClientSession) -> Document | None:
        return await _users().find_one_and_update(
            key,
            _decide_it(requested, looked),
            upsert=is_first,
            return_document=ReturnDocument.AFTER,
            session=session,
        )

    async def read(account: Document | None, paid: Document | None) -> Decision | None:
        if account is not None and (decision := _decision(requested, account, paid)) is not None:
            return replace(decision, first=paid in account.get("paid_baskets", ()) if paid else decision.first)
        if await change.is_latest(_users(), key, account):
            raise Contradiction(
                Code.NOT_ITS_TURN,
                f"attempt {requested.attempt} of basket {basket} was ordered, but attempt {requested.attempt - 1} "
                "was never declined",
            )
        return None

    return await PAID_BASKETS.settle(basket, update, read, may_hold=may_hold)


def _decision(requested: PaymentRequested, account: Document, paid: Document | None) -> Decision | None:
    """Return the decision that an account shows, beside what is known of the basket as paid; None when it shows none.

    Raises Contradiction when what was decided is not what is asked.
    """
    if paid is not None:
        return Decision(_told(requested, paid, PAID), account)
    declined = account.get("declined", {})
    if declined.get("basket") == ObjectId(requested.basket) and declined["attempt"] >= requested.attempt:
        return Decision(_told(requested, declined, DECLINED), account)
    return None


def _decide_it(requested: PaymentRequested, looked: Moved | None) -> Pipeline:
    """When nowhere paid, not declined, and the attempt is its turn: charge, or remember the decline.

    `looked` says how much was moved to the archive when it was found not to hold the basket; None: nobody looked.
    """
    basket, attempt = ObjectId(requested.basket), Int64(requested.attempt)
    sum_, number = Int64(requested.sum), Int64(requested.number)
    agreed = {name: literal(value) for name, value in kept(terms(requested)).items()}
    is_paid = {"$in": [basket, array("paid_baskets.basket")]}
    is_above = {"$gt": [number, {"$ifNull": ["$archived_through", Int64(0)]}]}
    is_not_archived = is_above if looked is None else PAID_BASKETS.is_still(looked)
    is_of_declined = {"$eq": ["$declined.basket", basket]}
    is_declined = {"$and": [is_of_declined, {"$gte": ["$declined.attempt", attempt]}]}
    # In sound operation billing has decided every attempt of a basket, so what comes next is known.
    is_next = {"$and": [is_of_declined, {"$eq": ["$declined.attempt", Int64(attempt - 1)]}]}
    is_its_turn = True if attempt == 1 else is_next
    undecided = {"$and": [{"$not": [is_paid]}, is_not_archived, {"$not": [is_declined]}, is_its_turn]}
    can_pay = {"$gte": [{"$ifNull": ["$balance", Int64(-1)]}, sum_]}
    entry: Document = {"number": number, "basket": basket, "attempt": attempt, **agreed}
    if requested.epoch:
        entry["epoch"] = Int64(requested.epoch)
    reason = {"$cond": [{"$eq": [{"$type": "$balance"}, "missing"]}, UNKNOWN_USER, INSUFFICIENT_FUNDS]}
    charge = {
        "balance": {"$subtract": ["$balance", sum_]},
        "paid_baskets": {"$concatArrays": [array("paid_baskets"), [{**entry, "paid_at": NOW}]]},
    }
    decline = {"declined": {**entry, "reason": reason, "decided_at": NOW}}
    return [merge_when(undecided, {"$cond": [can_pay, charge, decline]})]


def _told(requested: PaymentRequested, decided: Document, outcome: Outcome) -> PaymentDecided | None:
    """Compare what is asked with what was decided of the basket, and return the decision as it is stored."""
    asked, attempt = requested.attempt, decided["attempt"]
    if asked < attempt:
        if requested.epoch > decided.get("epoch", 0):
            # After a restore of all databases orders knows every attempt that billing knows.
            raise Contradiction(
                Code.RESTORED_ALONE,
                f"attempt {asked} was ordered after a restore, but attempt {attempt} was decided before it: orders was "
                "restored from an older backup than billing",
            )
        return None
    if asked > attempt:
        raise Contradiction(Code.NOT_ITS_TURN, f"attempt {asked} was ordered, but attempt {attempt} was paid")
    agreed = terms(requested)
    if (term := other_term(agreed, decided)) is not None:
        raise Contradiction(
            Code.OTHER_CONTENT,
            f"attempt {asked} was ordered for {agreed.get(term)}, but decided for {decided.get(term)} ({term})",
        )
    if requested.number != decided["number"]:
        raise Contradiction(
            Code.OTHER_CONTENT,
            f"attempt {asked} was ordered as number {requested.number}, but decided as number {decided['number']}",
        )
    is_paid = outcome == PAID
    return from_document(
        PaymentDecided,
        decided,
        user=requested.user,
        outcome=outcome,
        reason=None if is_paid else decided["reason"],
        decided_at=decided["paid_at" if is_paid else "decided_at"],
        epoch=None,  # what is kept is the one that it was decided in; an event is of the one that it is emitted in
    )


# --- DepositCash -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deposited:
    """What became of a deposit."""

    balance: int
    replayed: bool
    account: Document
    """The user document before the update."""


async def deposit(user: str, sum_: int, key: str | None) -> Deposited:
    """Add to a balance, with a key once, and archive what the account has outgrown. Raises what `credit` raises."""
    deposited = await credit(user, sum_, key)
    await DEPOSITS.bound(deposited.account)
    return deposited


async def credit(user: str, sum_: int, key: str | None) -> Deposited:
    """Add to a balance; with a key, once.

    One round trip: a find-and-update with its conditions inside, returning the document before it, which tells
    everything. A key that the document does not hold may be in the archive: a keyed deposit changes something only
    while as much is archived as when we looked.

    Raises NotFound without an account, Contradiction for a key that came with another sum, Impossible for a balance
    past MAX_BALANCE, Unavailable when the archive is not complete. Without a key, whatever else ends it once MongoDB
    was asked (a network error, the function's deadline, a cancellation, a bug) is Unavailable, and a repeat not safe.
    """
    try:
        return await _credit(user, sum_, key)
    except Rejected:
        raise
    except (Exception, asyncio.CancelledError) as error:
        if key is not None:
            raise
        raise Unavailable(
            Code.OUTCOME_UNKNOWN,
            "it is unknown whether the deposit was made; look at GET /GetUser before you repeat it, and send an "
            "Idempotency-Key with each new deposit: with one a repeat is always safe",
        ) from error


async def _credit(user: str, sum_: int, key: str | None) -> Deposited:
    account = {"_id": user, **_ACCOUNT}

    async def update(looked: Moved | None, session: AsyncClientSession) -> Document | None:
        return await _users().find_one_and_update(
            account,
            _credit_it(sum_, key, looked or Moved()),
            return_document=ReturnDocument.BEFORE,
            session=session,
        )

    async def read(before: Document | None, known: Document | None) -> Deposited | None:
        if before is None:
            if await change.is_latest(_users(), account, None):
                raise NotFound(Code.UNKNOWN_USER, "there is no such user; create it with POST /CreateUser")
            return None
        if known is not None:
            if known["sum"] != sum_:
                raise Contradiction(
                    Code.KEY_REUSED,
                    f"this Idempotency-Key deposited {known['sum']}, not {sum_}: nothing was added. A deposit keeps "
                    "its key and its sum whenever it is sent again",
                )
            return Deposited(balance=int(before["balance"]), replayed=True, account=before)
        if before["balance"] + sum_ > MAX_BALANCE:
            if await change.is_latest(_users(), account, before):
                raise Impossible(Code.BALANCE_FULL, f"the balance would pass {MAX_BALANCE}: nothing was added")
            return None
        return Deposited(balance=before["balance"] + sum_, replayed=False, account=before)

    # An account that has moved nothing needs no look.
    return await DEPOSITS.settle(key, update, read, may_hold=lambda _: key is not None, looked=Moved())


def _credit_it(sum_: int, key: str | None, looked: Moved) -> Pipeline:
    """When the key is new to the document and to the archive we looked at, and the balance stays exact: credit."""
    conditions: list[Mapping[str, Any]] = [{"$lte": ["$balance", Int64(MAX_BALANCE - sum_)]}]
    if key is not None:
        conditions += [
            {"$not": [{"$in": [literal(key), array("deposits.key")]}]},
            DEPOSITS.is_still(looked),
        ]
    # A deposit without a key is recorded under an id, which no key can equal: keys are strings.
    entry = {"key": literal(ObjectId() if key is None else key), "sum": Int64(sum_), "at": NOW}
    changes = {
        "balance": {"$add": ["$balance", Int64(sum_)]},
        "deposits": {"$concatArrays": [array("deposits"), [entry]]},
    }
    return [{"$set": when({"$and": conditions}, changes)}]
