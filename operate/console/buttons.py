"""The buttons: verbs of the `orders` command, each asked once, with a reason, and recorded with what came of it.

Promise: none of them edits money or state. They send again what was said before, or mark a dead letter; whatever they
lead to, the functions decide.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from bson import ObjectId

from operate import actions, diagnosis, epochs, payments
from operate.actions import VERIFY
from operate.audit import Problem
from operate.console.answers import Found, Page, Refused, link
from operate.console.pages import READ_ONLY, Query, chosen
from operate.console.shop import Shop
from operate.errors import WrongUse
from operate.letters import Letter
from operate.redrive import PARKING, Bounds, Redriven
from operate.redrive import park as park_letters
from operate.redrive import redrive as redrive_letters
from operate.verify import Look, send
from shop.state import ORDERED

_OLDER_THAN: Final = timedelta(minutes=2)
"""What is younger may still be on its way, as for `orders verify`."""

_GRACE_S: Final = 5.0
_MOST_REFUSALS: Final = 3
_AT_ONCE: Final = 8
"""As `orders dlq redrive` does it."""

_LISTED: Final = 50
"""How many letters a question lists; of the others it says how many there are."""

_log = logging.getLogger(__name__)


def _question(
    shop: Shop, verb: str, says: Sequence[str], back: str, sent: Mapping[str, str], letters: Sequence[Letter] = ()
) -> Page:
    """Return the page that asks before a button is pushed; what it would do is said first."""
    asked = {
        "verb": verb,
        "says": says,
        "back": back,
        "sent": {"id": str(ObjectId()), **sent},
        "may_push": shop.may_push,
        "read_only": READ_ONLY,
        "letters": letters[:_LISTED],
        "more": max(0, len(letters) - _LISTED),
    }
    return Page("push.html", f"{verb[:1].upper()}{verb[1:]}?", asked)


def _push(
    shop: Shop, form: Query, who: str, verb: str, about: Sequence[str], back: str, do: Callable[[], str]
) -> Found:
    """Record that somebody pushes, do it, and record what came of it. A form that is sent again does nothing."""
    why, id_ = form.get("why", "").strip(), form.get("id", "")
    if not why or len(why) > actions.LONGEST or not why.isprintable():
        raise Refused(400, f"say why, in a line of at most {actions.LONGEST} characters: nothing was done")
    if not ObjectId.is_valid(id_):
        raise Refused(400, "this form is none of the console's: nothing was done")
    begun = actions.begin(shop.databases, verb, who=who, why=why, about=about, id_=ObjectId(id_))
    if begun is not None:
        try:
            outcome = do()
        except Exception as error:
            actions.end(shop.databases, begun, f"failed: {error}")
            raise
        if outcome:
            actions.end(shop.databases, begun, outcome)
        shop.look_again()
    return Found(back)


# --- ask for a payment again -----------------------------------------------------------------------------------------


def ask(shop: Shop, query: Query) -> Page:
    """Ask whether to ask for the payment of an order again."""
    basket, back = _basket(query), link("/order", basket=query.get("basket"))
    known = diagnosis.read(shop.databases, basket)
    _check_ordered(known)
    says = [
        diagnosis.sentence(known, shop.status()),
        "PaymentRequested is sent again, under the same id and with the same content, as resend_orders does it. If it "
        "was decided already, billing tells its decision again; nobody is charged twice.",
    ]
    return _question(shop, "ask for payment again", says, back, {"basket": str(basket)})


def _ask(shop: Shop, form: Query, who: str) -> Found:
    basket = _basket(form)
    back = link("/order", basket=basket)

    def do() -> str:
        known = diagnosis.read(shop.databases, basket)
        stored = _check_ordered(known)
        epoch = epochs.read(shop.databases)["orders"].number
        send(shop.running, [(payments.requested(stored, epoch), stored.get("traceparent"))])
        return f"PaymentRequested {basket}.{stored['attempt']} was sent"

    return _push(shop, form, who, "ask for payment again", [str(basket)], back, do)


def _basket(query: Query) -> ObjectId:
    text = query.get("basket", "")
    if not ObjectId.is_valid(text):
        raise Refused(404, "no basket has this id")
    return ObjectId(text)


def _check_ordered(known: diagnosis.Known) -> Mapping[str, Any]:
    """Return the basket. Raises Refused for one that is not ordered: nobody is asked about what is decided."""
    if known.basket is None or known.basket["status"] != ORDERED:
        raise Refused(409, "this basket is not ordered now, so there is nothing to ask for: nothing was done")
    return known.basket


# --- dead letters ----------------------------------------------------------------------------------------------------


def redrive(shop: Shop, query: Query) -> Page:
    """Show what a redrive would do, and ask whether to do it."""
    found = chosen(shop.letters(), query)
    todo = [letter for letter in found if letter.waiting]
    skipped = Counter(letter.state for letter in found if not letter.waiting)
    says = [f"{number} would be sent again to {consumer}." for consumer, number in _by_consumer(todo).items()]
    says += [f"{number} are skipped: {state}." for state, number in skipped.items()]
    if tired := sum(letter.refusals >= _MOST_REFUSALS for letter in todo):
        says.append(f"{tired} of them were refused {_MOST_REFUSALS} times already, and would be parked instead.")
    says.append(
        "Each goes to the function that refused it, and to no other, under the same id. What was refused for good is "
        "refused again, unless the function or the data it looks at have changed since."
    )
    return _question(shop, "redrive", says, link("/letters"), _asked(query, todo), todo)


def _redrive(shop: Shop, form: Query, who: str) -> Found:
    todo = _shown(shop, form)

    def do() -> str:
        if lost := {letter.consumer for letter in todo if not letter.known}:
            raise WrongUse(f"nothing says where {', '.join(sorted(lost))} is: nothing was done")
        redriven = Redriven()
        bounds = Bounds(_MOST_REFUSALS, _AT_ONCE, None)
        asyncio.run(redrive_letters(shop.running, todo, bounds, redriven, lambda: None))
        counts = ", ".join(f"{number} {name}" for name, number in redriven.counts.items() if number)
        return counts or "there was nothing to redrive"

    return _push(shop, form, who, "redrive", _about(todo), link("/actions"), do)


def park(shop: Shop, query: Query) -> Page:
    """Ask whether to let dead letters rest."""
    todo = [letter for letter in chosen(shop.letters(), query) if letter.waiting]
    says = [f"{number} of {consumer} would be parked." for consumer, number in _by_consumer(todo).items()]
    says.append(
        "What is parked is skipped by a redrive, and is no trouble any more. The reason is kept with each, in ASCII."
    )
    return _question(shop, "park", says, link("/letters"), _asked(query, todo), todo)


def _park(shop: Shop, form: Query, who: str) -> Found:
    todo = _shown(shop, form)
    why = form.get("why", "").strip()
    if not PARKING.fullmatch(why):
        raise Refused(400, "the reason is kept in an event, so it has 1 to 200 ASCII characters: nothing was done")

    def do() -> str:
        park_letters(shop.running, todo, why)
        return f"parked {len(todo)}"

    return _push(shop, form, who, "park", _about(todo), link("/actions"), do)


def _asked(query: Query, todo: Sequence[Letter]) -> dict[str, str]:
    """Return what a form says of the letters that it was shown with: which they are, and when the last of them came."""
    sent = {name: query[name] for name in ("consumer", "code", "error", "kind", "place") if name in query}
    return sent | {"until": str(max(map(_came_ms, todo), default=0))}


def _shown(shop: Shop, form: Query) -> list[Letter]:
    """Return the letters that a form was shown with, as far as they still wait: what came since nobody has seen."""
    until = form.get("until", "")
    until_ms = int(until) if until.isascii() and until.isdecimal() and len(until) < 15 else 0
    return [each for each in chosen(shop.letters(), form) if each.waiting and _came_ms(each) <= until_ms]


def _came_ms(letter: Letter) -> int:
    return round(letter.at.timestamp() * 1000)


def _about(todo: Sequence[Letter]) -> list[str]:
    """Name the baskets that letters are about; the functions when they are about none that can be read."""
    baskets = dict.fromkeys(letter.about.basket for letter in todo if letter.about is not None)
    return list(baskets or _by_consumer(todo))


def _by_consumer(todo: Sequence[Letter]) -> Mapping[str, int]:
    return Counter(letter.consumer for letter in todo)


# --- verify ----------------------------------------------------------------------------------------------------------

_verifying: Final = threading.Lock()


def verify(shop: Shop, query: Query) -> Page:
    """Ask whether to verify a customer, or everybody."""
    user = query.get("user", "")
    whom = user or "everybody"
    says = [
        f"Check for {whom} that balance = deposits - paid, and that the three databases agree.",
        "It only reads. For everybody it takes about a second for each thousand customers, and goes on by itself.",
    ]
    back = link("/customer", user=user) if user else link("/actions")
    return _question(shop, VERIFY, says, back, {"user": user} if user else {})


def _verify(shop: Shop, form: Query, who: str) -> Found:
    user = form.get("user", "")
    if user:

        def one() -> str:
            return _outcome(Look(shop.databases, _OLDER_THAN, archives=True).at(user))

        return _push(shop, form, who, VERIFY, [user], link("/customer", user=user), one)
    if not _verifying.acquire(blocking=False):
        raise Refused(409, "everybody is being verified already: nothing was done")

    started: list[threading.Thread] = []

    def everybody() -> str:
        started.append(threading.Thread(target=_verify_everybody, args=(shop, ObjectId(form["id"])), daemon=True))
        started[0].start()
        return ""  # the thread tells

    try:
        return _push(shop, form, who, VERIFY, [], link("/actions"), everybody)
    finally:
        if not started:
            _verifying.release()


def _verify_everybody(shop: Shop, action: ObjectId) -> None:
    try:
        look = Look(shop.databases, _OLDER_THAN, archives=False)
        found = look.at_everybody(None)
        if found:
            threading.Event().wait(_GRACE_S)  # what was on its way is no problem
            found = look.again(found)
        actions.end(shop.databases, action, _outcome(found), len(found))
    except Exception as error:  # noqa: BLE001 - a thread of its own: what it raises nobody would see
        _log.error("verify failed", exc_info=error)
        actions.end(shop.databases, action, f"failed: {error}")
    finally:
        _verifying.release()


def _outcome(found: Sequence[Problem]) -> str:
    kinds = Counter(problem.kind for problem in found)
    return f"{len(found)} problems" + "".join(f"; {number} {kind}" for kind, number in kinds.items())


PUSHES: Final[Mapping[str, Callable[[Shop, Query, str], Found]]] = {
    "/ask": _ask,
    "/redrive": _redrive,
    "/park": _park,
    "/verify": _verify,
}
"""What each button does when it is pushed, by its address."""
