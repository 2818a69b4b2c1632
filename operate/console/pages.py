"""The pages that only look."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson import ObjectId

from operate import actions as done
from operate import audit, baskets, diagnosis, story
from operate.console.answers import Found, Page, Refused, link
from operate.console.shop import Shop
from operate.databases import Document
from operate.errors import NotReachable, WrongUse
from operate.letters import STATES, Letter
from operate.payments import payment
from operate.places import CONSUMERS, OPTIONAL
from operate.status import LONG, Status, decided, waiting
from operate.story import Moment
from operate.verify import Look
from shop.messages import to_json
from shop.process.trace import is_sampled, trace_of
from wire.event import Event

READ_ONLY: Final = (
    "the console is read-only here, because nobody is identified: AUTH_* would let admins push, and on one machine "
    "CONSOLE_PUSH=anybody lets everybody"
)

_BASKET: Final = re.compile(r"[0-9a-f]{24}")
_BASKET_OR_EVENT: Final = re.compile(r"([0-9a-f]{24})(?:\.\d{1,18})?")
"""A basket, alone or in the id of an event."""

_TRACE: Final = re.compile(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?")
"""The id of a trace, alone or in a traceparent."""

_GAP_S: Final = 2.0
"""What lasts longer between two moments of a story is marked: an order usually takes less than one second in all."""

_LATEST: Final = 2_000
"""How many records of each partition a story looks at, the latest."""

Query = Mapping[str, str]


def home(shop: Shop, _: Query) -> Page:
    """Show how things are, where to look, and what is stuck."""
    status = shop.status()
    stuck = baskets.page(shop.databases, "stuck") if status.orders is not None else None
    return Page("home.html", "How orders get through", {"status": status, "lists": baskets.LISTS, "stuck": stuck})


def find(shop: Shop, query: Query) -> Page | Found:
    """Go to the basket, the event, the trace or the customer that somebody looks for."""
    sought = query.get("q", "").strip()
    if (match := _BASKET_OR_EVENT.fullmatch(sought.lower())) and not _is_only_a_name(shop, match[1], sought):
        return Found(link("/order", basket=match[1]))
    if (match := _TRACE.fullmatch(sought.lower())) and (traced := baskets.of_trace(shop.databases, match[1])):
        if len(traced) == 1:
            return Found(link("/order", basket=traced[0]["_id"]))
        values = {"trace": match[1], "baskets": traced, "now": shop.databases.now()}
        return Page("trace.html", "Orders of one trace", values)
    return Found(link("/customer", user=sought)) if sought else home(shop, query)


def _is_only_a_name(shop: Shop, basket: str, sought: str) -> bool:
    """Whether what looks like a basket is none, but a customer: anybody may be called so."""
    stored = shop.databases.collection("orders", "baskets").find_one({"_id": ObjectId(basket)}, {"_id": 1})
    if stored is not None:
        return False
    account = shop.databases.collection("billing", "users").find_one({"_id": sought}, {"_id": 1})
    return account is not None or bool(baskets.of_customer(shop.databases, sought))


def orders(shop: Shop, query: Query) -> Page:
    """List orders by what became of them."""
    which = query.get("show", "stuck")
    if which not in baskets.LISTS:
        raise Refused(404, f"there is no list {which!r}; there are {', '.join(baskets.LISTS)}")
    page = baskets.page(shop.databases, which, query.get("after", ""))
    values = {"which": which, "lists": baskets.LISTS, "page": page, "now": shop.databases.now()}
    return Page("orders.html", f"Orders: {which}", values)


# --- one order -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A moment of a story, and how long nothing had happened before it."""

    moment: Moment
    gap_s: float
    attributes: Mapping[str, str]
    data: str


def order(shop: Shop, query: Query) -> Page:
    """Show one basket: why it is where it is, and its story."""
    basket = query.get("basket", "")
    if not _BASKET.fullmatch(basket):
        raise Refused(404, f"{basket!r} is not a basket id (24 lowercase hex digits)")
    known, status = diagnosis.read(shop.databases, ObjectId(basket)), shop.status()
    remark, moments = "", story.of_databases(shop.databases, ObjectId(basket))
    if known.basket is not None:
        remark = _with_topics(shop, moments, basket, known.basket)
    moments += [_of_action(action) for action in done.of(shop.databases, basket)]
    moments.sort(key=lambda moment: moment.at)
    values = {
        "basket": basket,
        "known": known.basket,
        "sentence": diagnosis.sentence(known, status),
        "story": _with_gaps(moments),
        "still_s": _still_s(moments, known, status),
        "remark": remark,
        "traces": _traces(shop, known.basket or {}),
    }
    refresh = "" if known.is_settled else link("/order", basket=basket, live=1)
    code = 200 if known.basket is not None else 404
    return Page("order.html", f"Basket {basket}", values, code, refresh)


def _traces(shop: Shop, known: Document) -> Sequence[Mapping[str, str]]:
    """Return the traces of a basket's attempts, the latest first, and where each that was recorded is shown."""
    found = []
    for at, attempt in enumerate((known, *reversed(known.get("declines", [])))):
        if traceparent := attempt.get("traceparent"):
            trace = trace_of(traceparent)
            address = shop.trace_url.replace("{trace}", trace) if is_sampled(traceparent) else ""
            found.append({"of": f"of attempt {attempt['attempt']}" if at else "Trace", "id": trace, "at": address})
    return found


def _with_topics(shop: Shop, moments: list[Moment], basket: str, known: Document) -> str:
    """Add what the topics hold; return why they could not be read, empty when they could."""
    if shop.topics is None:
        return "Nothing says where Kafka is, so what its topics hold is not shown."
    since_ms = int(known["_id"].generation_time.timestamp() * 1000)
    try:
        moments += story.of_topics(shop.topics, shop.running.places, basket, since_ms, last=_LATEST)
    except (NotReachable, WrongUse) as error:
        return f"Without the topics: {error}"
    return ""


def _of_action(action: done.Action) -> Moment:
    outcome = action.outcome or "how it ended is not known"
    return Moment(action.at, "console", f"{action.who}: {action.verb} ({action.why}): {outcome}")


def _with_gaps(moments: Sequence[Moment]) -> list[Told]:
    told, before = [], None
    for moment in moments:
        gap_s = 0.0 if before is None else (moment.at - before).total_seconds()
        attributes, data = _opened(moment.event) if moment.event is not None else ({}, "")
        told.append(Told(moment, gap_s if gap_s >= _GAP_S else 0.0, attributes, data))
        before = moment.at
    return told


def _still_s(moments: Sequence[Moment], known: diagnosis.Known, status: Status) -> float:
    """Return for how long nothing has happened to what is not settled."""
    now: datetime = status.orders.now if status.orders is not None else status.at
    return (now - moments[-1].at).total_seconds() if moments and not known.is_settled else 0.0


def _opened(event: Event) -> tuple[Mapping[str, str], str]:
    """Return an event's attributes, and its data as JSON."""
    about = payment(event)
    data = "" if about is None else json.dumps(to_json(about), ensure_ascii=False, indent=2)
    return {name: event.text(name) for name in sorted(event.attributes)}, data


# --- dead letters ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Dead letters of one cause and one function."""

    letters: Sequence[Letter]

    @property
    def key(self) -> Mapping[str, str]:
        """Return what they have in common, as an address has it."""
        first = self.letters[0]
        return {"consumer": first.consumer, "code": first.code, "error": first.error, "kind": first.kind}

    @property
    def states(self) -> Mapping[str, int]:
        """Count them by what has become of them."""
        found = Counter(letter.state for letter in self.letters)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def first(self) -> datetime:
        """Return when the first of them came."""
        return min(letter.first or letter.at for letter in self.letters)

    @property
    def last(self) -> datetime:
        """Return when the last of them came."""
        return max(letter.at for letter in self.letters)


def chosen(found: Sequence[Letter], query: Query) -> list[Letter]:
    """Return the letters of a group, or one by its place; all of them when nothing is asked for."""
    if place := query.get("place"):
        return [letter for letter in found if letter.place == place]
    wanted = {name: query[name] for name in ("consumer", "code", "error", "kind") if name in query}
    return [letter for letter in found if all(getattr(letter, name) == value for name, value in wanted.items())]


def letters(shop: Shop, query: Query) -> Page:
    """Group the dead letters by cause and function; show the letters of one group."""
    found = chosen(shop.letters(), query)
    groups: dict[tuple[str, ...], list[Letter]] = {}
    for letter in found:
        groups.setdefault((letter.consumer, letter.code, letter.error, letter.kind), []).append(letter)
    rows = sorted(map(Group, groups.values()), key=lambda group: group.last, reverse=True)
    one = found[-100:] if "consumer" in query else []
    return Page("letters.html", "Dead letters", {"groups": rows, "letters": one[::-1]})


def letter(shop: Shop, query: Query) -> Page:
    """Show one dead letter."""
    found = [each for each in shop.letters() if each.place == query.get("place", "")]
    if not found:
        raise Refused(404, "there is no such dead letter any more, or it is none of the latest")
    attributes, data = _opened(found[-1].event)
    return Page("letter.html", "A dead letter", {"letter": found[-1], "attributes": attributes, "data": data})


# --- customers -------------------------------------------------------------------------------------------------------

_MANY: Final = 2_000
"""How many baskets a customer may have for a page to verify all of them: a second's work. Beyond, a button does."""


def customer(shop: Shop, query: Query) -> Page:
    """Show a customer's account, and the sum that proves it."""
    user = query.get("user", "")
    databases = shop.databases
    account: Document = databases.collection("billing", "users").find_one({"_id": user}) or {}
    latest = baskets.of_customer(databases, user)
    problems: Sequence[audit.Problem] | None = None
    if not latest or latest[0]["number"] <= _MANY:
        problems = Look(databases, LONG, archives=True).at(user)
    values = {
        "user": user,
        "account": account,
        "proof": proof(account),
        "baskets": latest,
        "problems": problems,
        "actions": done.of(databases, user),
        "now": databases.now(),
    }
    known = bool(account or latest)
    return Page("customer.html", f"Customer {user}", values, 200 if known else 404)


@dataclass(frozen=True)
class Proof:
    """Why a balance is what it is."""

    deposited: int
    deposits: int
    paid: int
    charges: int
    balance: int

    @property
    def holds(self) -> bool:
        """Whether balance = deposited - paid."""
        return self.balance == self.deposited - self.paid


def proof(account: Mapping[str, Any]) -> Proof:
    """Add up an account: what is in its arrays, and what was moved to the archives."""
    archived = account.get("archived", {})
    deposits, charges = account.get("deposits", ()), account.get("paid_baskets", ())
    return Proof(
        deposited=audit.total(deposits) + archived.get("deposited", 0),
        deposits=len(deposits) + archived.get("deposits", 0),
        paid=audit.total(charges) + archived.get("paid", 0),
        charges=len(charges) + archived.get("paid_baskets", 0),
        balance=account.get("balance", 0),
    )


# --- the machinery ---------------------------------------------------------------------------------------------------


def health(shop: Shop, _: Query) -> Page:
    """Show whether the machinery is well."""
    status = shop.status()
    rows = [
        {
            "name": name,
            "waits": waiting(status, group) if (group := (status.groups or {}).get(name)) else "not known",
            "members": group.members if group else "not known",
            "answer": status.answers.get(name, "not asked") or "answers",
        }
        for name in (*CONSUMERS, *(name for name in OPTIONAL if name in (status.groups or {})))
    ]
    values = {"status": status, "consumers": rows, "decided": decided(status)}
    return Page("health.html", "Health", values, 200, link("/health", live=1))


def actions(shop: Shop, _: Query) -> Page:
    """Show what people did."""
    return Page("actions.html", "What people did", {"actions": done.latest(shop.databases)})
