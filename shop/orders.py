"""Move a basket `open -> ordered -> paid`, each step one compare-and-set, so that a repeated step finds itself done.

Promises, against any repetition, reordering and loss:

- a user has one unpaid basket, and basket n + 1 exists only after n was paid;
- attempt n + 1 to pay a basket exists only after attempt n was declined;
- an ordered basket is its own outbox: until it is settled it asks for its payment again and again.

State: `orders.baskets`, one document per basket (`shop.setup` has its validator). One document is ever needed at once.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bson import Int64, ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError

from shop import waiting
from shop.errors import Code, Contradiction, NotFound, Unavailable
from shop.messages import TERMS, from_document, other_term, terms, to_datetime
from shop.schema.events_pb2 import PAID, PaymentDecided, PaymentRequested
from shop.schema.orders_pb2 import (
    GetBasketRequest,
    GetBasketResponse,
    GetOrderRequest,
    GetOrderResponse,
    OrderRequest,
    OrderResponse,
)
from shop.state import (
    BASKETS,
    DECLINED_OUTCOME,
    NO_OUTCOME,
    OPEN,
    ORDERED,
    ORDERS,
    PAID_OUTCOME,
    PAID_STATUS,
    PENDING_OUTCOME,
    decline_code,
    kept,
)
from shop.store import change, client, shared
from shop.store.client import Document
from shop.store.pipeline import NOW, REMOVE, Pipeline, array, literal, when

_log = logging.getLogger(__name__)

SERVICE = ORDERS

RESEND_AFTER_MS = 60_000
"""When an ordered basket is due for its first resend: far beyond the usual way to billing and back."""

RESEND_AT_MOST_EVERY_MS = 3_600_000
"""The longest wait between two resends of one basket."""

DECLINES_KEPT = 16
"""How many earlier declines a basket keeps with their reasons; that they were declined is known of all."""


def _baskets() -> AsyncCollection[Document]:
    return client.collection(SERVICE, BASKETS)


# --- GetBasket -------------------------------------------------------------------------------------------------------


async def give_basket(request: GetBasketRequest) -> GetBasketResponse:
    """Give the user's one unpaid basket, with the attempt to send with its order."""
    basket = await current_basket(request.user)
    id_ = str(basket["_id"])
    return GetBasketResponse(
        status=True, message=id_, basket=id_, attempt=next_attempt(basket), order_status=basket["status"]
    )


_RACES = 10
"""How often a new basket may be paid before it was even answered: the user is ordering at the same time."""


async def current_basket(user: str) -> Document:
    """Return the user's one unpaid basket, made now if there is none. Any number of concurrent calls make one.

    The highest number is the only one that can be unpaid. That it was paid is final, so a durable read is enough to
    make the next basket. What is answered was made by this very call, or is read as it is now.
    """
    for _ in range(_RACES):
        latest = await shared.look_at_last(_baskets(), "user", user, by="number", durable=True)
        if latest is None or latest["status"] == PAID_STATUS:
            made = await _make_basket({"user": user, "number": Int64(latest["number"] + 1 if latest else 1)})
            if made is not None:
                return made
        latest = await shared.look_at_last(_baskets(), "user", user, by="number")
        if latest is not None and latest["status"] != PAID_STATUS:
            return latest
    raise Unavailable(Code.TOO_MANY_UPDATES, "too many concurrent orders of this user; try again")


async def _make_basket(key: Mapping[str, Any]) -> Document | None:
    """Make the basket of this user and number. Return it, or None when it may be another call that made it."""
    content = {"status": OPEN, "attempt": Int64(0)}
    make_it = {"$setOnInsert": content}
    seen = await shared.apply(_baskets(), shared.Statement(key, make_it, upsert=True, only_unchanged=True))
    if seen is None:
        await change.upsert(_baskets(), key, make_it)
    elif seen.made is not None:
        return {"_id": seen.made, **key, **content}
    return None


def next_attempt(basket: Document) -> int:
    """Return the attempt to send with POST /Order: a new one when the basket is open, else the one on its way."""
    return int(basket["attempt"]) + int(basket["status"] == OPEN)


# --- POST /Order -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ordered:
    """What became of one attempt to order a basket."""

    response: OrderResponse
    replayed: bool
    event: PaymentRequested | None
    """To emit now; None when the attempt is decided already."""

    traceparent: str | None
    """The trace that the basket was ordered in, to which the event belongs."""


Emit = Callable[[PaymentRequested, str | None], Awaitable[None]]
"""Emits an event, which belongs to a trace, or raises Unavailable when it is unknown whether it did."""


async def order(request: OrderRequest, emit: Emit, traceparent: str | None) -> Ordered:
    """Order a basket, in this trace, and ask for its payment.

    Raises what `place` raises; a failed emission is none of that.
    """
    ordered = await place(request, traceparent)
    if ordered.event is not None:
        try:
            await emit(ordered.event, ordered.traceparent)
        except Unavailable as error:
            # Accepted all the same: the basket is its own outbox, and resend_orders finds it.
            _log.warning("event not published; resend_orders will retry: %s", error)
    return ordered


async def place(request: OrderRequest, traceparent: str | None = None) -> Ordered:
    """Order a basket on its terms, once per attempt; a repetition is answered with what became of the first one.

    One round trip: a find-and-update whose conditions are inside, returning the document after it. Its `request` tells
    whether it was this call that ordered; if not, the document is what was there before.

    Raises NotFound for a basket that is absent or of another user, Contradiction for other terms or a later attempt.
    """
    mine = ObjectId()

    def read(stored: Document | None) -> Ordered:
        if stored is None:
            raise NotFound(Code.UNKNOWN_BASKET, "this user has no such basket; take the id from GET /GetBasket")
        if stored.get("request") == mine:
            return _ordered("order accepted", stored, replayed=False)
        return _order_again(stored, request)

    return await change.update(
        _baskets(), {"_id": ObjectId(request.basket), "user": request.user}, _order_it(mine, request, traceparent), read
    )


def _attempt(request: OrderRequest) -> int | None:
    return request.attempt if request.HasField("attempt") else None


def _order_it(mine: ObjectId, request: OrderRequest, traceparent: str | None) -> Pipeline:
    """When open and, if an attempt was sent, it is the next one: set status, terms, attempt. Else change nothing."""
    # Once for each `mine`: the statement may be executed twice, and the basket declined in between.
    conditions: list[object] = [{"$eq": ["$status", OPEN]}, {"$ne": ["$request", mine]}]
    if (attempt := _attempt(request)) is not None:
        conditions.append({"$eq": [Int64(attempt), {"$add": ["$attempt", Int64(1)]}]})
    agreed = kept(terms(request))
    changes = {
        "status": ORDERED,
        **{term: literal(agreed[term]) if term in agreed else REMOVE for term in TERMS},
        "attempt": {"$add": ["$attempt", Int64(1)]},
        "ordered_at": NOW,
        "resend_at": {"$add": [NOW, RESEND_AFTER_MS]},
        "request": mine,
        "traceparent": traceparent or REMOVE,
        "decided_at": REMOVE,
        "settled_at": REMOVE,
        "reason": REMOVE,
        "declines": {"$cond": [{"$gt": ["$attempt", 0]}, _with_the_latest_decline(), REMOVE]},
    }
    return [{"$set": when({"$and": conditions}, changes)}]


def _with_the_latest_decline() -> Mapping[str, Any]:
    """Return the declines with that of the latest attempt, as the basket had it before it is ordered again."""
    times = ("ordered_at", "decided_at", "settled_at")
    latest = {name: f"${name}" for name in ("attempt", *TERMS, "reason", *times, "traceparent")}
    return {"$slice": [{"$concatArrays": [array("declines"), [latest]]}, -DECLINES_KEPT]}


async def once_decided(request: OrderRequest, ordered: Ordered) -> OrderResponse:
    """Tell what became of an order once it is decided, as its repetition is told then; whoever calls bounds that."""
    known = ordered.response
    if known.outcome != PENDING_OUTCOME:
        return known
    again = OrderRequest()
    again.CopyFrom(request)
    again.attempt = known.attempt
    return _order_again(await waiting.decided(request.user, ObjectId(known.basket), known.attempt), again).response


def _order_again(stored: Document, request: OrderRequest) -> Ordered:
    """Answer an order that changed nothing: the table of what was there, read from above, the first row that fits."""
    status, current, attempt = stored["status"], stored["attempt"], _attempt(request)
    if attempt is not None and attempt < current:
        return _ordered("declined", stored, replayed=True, attempt=attempt)
    if attempt is not None and attempt > current:
        raise Contradiction(
            Code.ATTEMPT_AHEAD, f"attempt {attempt} is ahead of this basket; send attempt {next_attempt(stored)}"
        )
    agreed = terms(request)
    if (term := other_term(agreed, stored)) is not None:
        raise Contradiction(
            Code.OTHER_TERMS,
            f"attempt {current} of this basket was ordered for {stored.get(term)}, not for {agreed.get(term)}; "
            f"send that {term}",
        )
    if status == OPEN:
        return _ordered(f"declined: {stored.get('reason', '')}", stored, replayed=True)
    if status == ORDERED:
        return _ordered("order accepted", stored, replayed=True)
    return _ordered("paid", stored, replayed=True)


def _ordered(message: str, stored: Document, *, replayed: bool, attempt: int | None = None) -> Ordered:
    about = _known_of(stored, stored["attempt"] if attempt is None else attempt)
    response = from_document(
        OrderResponse, about, status=True, message=message, basket=stored["_id"], order_status=stored["status"]
    )
    return Ordered(
        response=response,
        replayed=replayed,
        event=payment_requested(stored) if about["outcome"] == PENDING_OUTCOME else None,
        traceparent=stored.get("traceparent"),
    )


def payment_requested(stored: Document) -> PaymentRequested:
    """Build the event of an ordered basket from what is stored, so that every emission is the same byte for byte."""
    return from_document(PaymentRequested, stored, basket=stored["_id"], epoch=None)


# --- outcomes --------------------------------------------------------------------------------------------------------

_OUTCOMES = {OPEN: DECLINED_OUTCOME, ORDERED: PENDING_OUTCOME, PAID_STATUS: PAID_OUTCOME}
"""The outcome of a basket's latest attempt, by the status."""


def _known_of(basket: Document, attempt: int) -> Document:
    """Return one attempt's outcome, and what else is known of it.

    The outcome needs no memory: attempt n + 1 exists only after attempt n was declined.
    """
    current = basket["attempt"]
    known: Document = {}
    if attempt > current or current == 0:
        outcome = NO_OUTCOME
    elif attempt == current:
        outcome, known = _OUTCOMES[basket["status"]], basket
    else:
        outcome = DECLINED_OUTCOME
        known = next((decline for decline in basket.get("declines", []) if decline["attempt"] == attempt), known)
    code = decline_code(known["reason"]) if "reason" in known else None
    return {**known, "attempt": attempt, "outcome": outcome, "decline_code": code}


# --- GetOrder --------------------------------------------------------------------------------------------------------


async def show_order(request: GetOrderRequest) -> GetOrderResponse:
    """Show what became of a basket's latest order, or of the attempt that is asked for.

    Raises NotFound for a basket that is absent or of another user.
    """
    basket = await find_order(request.user, request.basket)
    return _shown(basket, request.attempt if request.HasField("attempt") else basket["attempt"])


async def show_once_decided(request: GetOrderRequest, shown: GetOrderResponse) -> GetOrderResponse:
    """Show what became of an attempt that was shown, once it is decided; whoever calls bounds that.

    An attempt that was not ordered is shown as it is: its client has to order before there is something to wait for.
    """
    if shown.outcome != PENDING_OUTCOME:
        return shown
    return _shown(await waiting.decided(request.user, ObjectId(shown.basket), shown.attempt), shown.attempt)


def _shown(basket: Document, attempt: int) -> GetOrderResponse:
    about = _known_of(basket, attempt)
    same = {"basket": basket["_id"], "number": basket["number"]}
    return from_document(GetOrderResponse, about, status=True, message=basket["status"], **same)


async def find_order(user: str, basket: str) -> Document:
    """Return a basket of the user. Raises NotFound for one that is absent or of another user."""
    stored = await shared.look(_baskets(), {"_id": ObjectId(basket), "user": user})
    if stored is None:
        raise NotFound(Code.UNKNOWN_BASKET, "this user has no such basket; take the id from GET /GetBasket")
    return stored


# --- settlement ------------------------------------------------------------------------------------------------------


async def settle(decided: PaymentDecided) -> str:
    """Settle a basket as billing decided: `ordered -> paid`, or back to `open`.

    Only a decision of the current attempt, on its terms, moves it.

    Returns what happened, for the log: `paid`, `declined`, `replayed` (it was settled so before) or `older`.

    Raises Contradiction for a decision that no order of ours can have led to.
    """
    status = PAID_STATUS if decided.outcome == PAID else OPEN
    return await change.update(
        _baskets(),
        {"_id": ObjectId(decided.basket), "user": decided.user},
        _settle_it(decided, status),
        lambda stored: _settled(stored, decided, status),
        changed=PAID_OUTCOME if decided.outcome == PAID else DECLINED_OUTCOME,
        done_at=lambda stored: stored.get("settled_at") if stored["attempt"] == decided.attempt else None,
    )


def _settle_it(decided: PaymentDecided, status: str) -> Pipeline:
    """When ordered, at this attempt, on these terms: it is settled. Else change nothing."""
    changes: dict[str, Any] = {
        "status": status,
        "decided_at": to_datetime(decided.decided_at),
        "settled_at": NOW,
        "reason": literal(decided.reason) if status == OPEN else REMOVE,
        "resend_at": REMOVE,
    }
    agreed = kept(terms(decided))
    is_current = [
        {"$eq": ["$status", ORDERED]},
        {"$eq": ["$attempt", Int64(decided.attempt)]},
        *({"$eq": [{"$ifNull": [f"${term}", None]}, literal(agreed.get(term))]} for term in TERMS),
    ]
    return [{"$set": when({"$and": is_current}, changes)}]


def _settled(stored: Document | None, decided: PaymentDecided, status: str) -> str:
    """Read off the basket what a decision did, or did before."""
    if stored is None:
        raise Contradiction(
            Code.BASKET_MISSING, f"user {decided.user} has no basket {decided.basket}, but billing decided it"
        )
    current = stored["attempt"]
    if decided.attempt < current:
        return "older"
    if decided.attempt > current:
        raise Contradiction(
            Code.NOT_ITS_TURN, f"attempt {decided.attempt} was decided, but attempt {current} is the latest one ordered"
        )
    agreed = terms(decided)
    if (term := other_term(agreed, stored)) is not None:
        raise Contradiction(
            Code.OTHER_CONTENT,
            f"attempt {current} was decided for {agreed.get(term)}, but ordered for {stored.get(term)} ({term})",
        )
    if stored["status"] != status:
        raise Contradiction(
            Code.OTHER_CONTENT, f"attempt {current} was decided {status}, but is settled {stored['status']}"
        )
    return "replayed"


# --- resend ----------------------------------------------------------------------------------------------------------


async def resend(emit: Emit, until: float) -> str:
    """Ask again for the payment of what is due, as long as the monotonic clock shows less than `until`.

    Each claim has a deadline of its own. Returns what happened, for the log.
    """
    resent, oldest_s = 0, 0.0
    try:
        while time.monotonic() < until:
            with client.deadline():
                due = await claim_due()
            if due is None:
                return f"resent {resent}"
            oldest_s = max(oldest_s, time.time() - due.event.ordered_at.ToMilliseconds() / 1000)
            await _emit_claimed(due, emit)
            resent += 1
    except (Unavailable, PyMongoError) as error:
        # An outage must not be amplified: the first failure ends the tick, and the next tick is the retry.
        _log.warning("stopped until the next tick: %s", error)
        return f"resent {resent}, then stopped"
    finally:
        if oldest_s:
            # In sound operation nothing is due: what is says that something between here and billing does not work.
            fields = {"resent": resent, "oldest_s": round(oldest_s, 1)}
            _log.warning(
                "orders were not decided in time, and their payment is requested again", extra={"fields": fields}
            )
    return f"resent {resent}, more are due"


@dataclass(frozen=True)
class Due:
    """A basket that is due for a resend: its event, and the trace that it belongs to."""

    event: PaymentRequested
    traceparent: str | None


async def _emit_claimed(due: Due, emit: Emit) -> None:
    try:
        await emit(due.event, due.traceparent)
    except Unavailable:
        with client.deadline():
            await due_again(due.event)
        raise


async def claim_due(candidates: int = 20) -> Due | None:
    """Claim the basket that has been due for a resend for longest, and return it; None when none is due.

    One look finds so many `candidates`: when another tick was faster with the first, the next one may be free.

    The claim sets its next time before anything is sent: ticks that overlap share the work, and a basket that never
    gets through does not keep the others waiting. Waits double without a counter, for each is as long as the basket's
    age.

    Who is due is asked of all users at once; a claim names its user, as a sharded collection requires.
    """
    due = {"status": ORDERED, "$expr": {"$lte": ["$resend_at", NOW]}}
    age = {"$subtract": [NOW, "$ordered_at"]}
    wait = {"$min": [{"$max": [age, RESEND_AFTER_MS]}, RESEND_AT_MOST_EVERY_MS]}
    for _ in range(_RACES):
        longest_first = _baskets().find(due, {"user": 1}, sort=[("resend_at", 1)], limit=candidates)
        found = await longest_first.to_list()
        for candidate in found:
            claimed = await _baskets().find_one_and_update(
                {"_id": candidate["_id"], "user": candidate["user"], **due},
                [{"$set": {"resend_at": {"$add": [NOW, wait]}}}],
                return_document=ReturnDocument.AFTER,
            )
            if claimed is not None:
                return Due(payment_requested(claimed), claimed.get("traceparent"))
        if len(found) < candidates:
            return None
    return None  # other ticks claim everything first: they resend it


async def due_again(event: PaymentRequested) -> None:
    """Let a claimed basket be due at the next tick: its emission failed, and it has waited long enough."""
    is_as_claimed = {"$and": [{"$eq": ["$status", ORDERED]}, {"$eq": ["$attempt", Int64(event.attempt)]}]}
    await _baskets().update_one(
        {"_id": ObjectId(event.basket), "user": event.user}, [{"$set": when(is_as_claimed, {"resend_at": NOW})}]
    )
