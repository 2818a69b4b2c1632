"""Keep a record of what people did to the shop: who, when, why, and what came of it.

Promise: a record is there before anything is done, and its id is taken once, so a form that is sent twice acts once.
One without an outcome tells that whoever acted ended halfway. This is all that `operate` writes to a database. It is no
part of any order, and no function reads it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson import Int64, ObjectId
from pymongo import WriteConcern
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from operate.databases import Databases, Document
from shop.messages import rfc3339
from shop.state import ACTIONS, ORDERS

KEPT: Final = 10_000
"""How many are kept, the latest: years of them. Each is under 2 KiB."""

ABOUT: Final = 20
"""How many baskets or customers one names; a redrive of thousands is about its group."""

LONGEST: Final = 200
"""How long a reason may be: a sentence, and what an event's attribute can carry."""

VERIFY: Final = "verify"
_EVERYBODY: Final[list[str]] = []


@dataclass(frozen=True)
class Action:
    """What somebody did."""

    id: ObjectId
    at: datetime
    who: str
    verb: str
    why: str
    about: tuple[str, ...]
    outcome: str
    problems: int | None

    @classmethod
    def of(cls, stored: Document) -> "Action":
        """Read one."""
        problems = stored.get("problems")
        return cls(
            stored["_id"],
            stored["at"],
            stored["who"],
            stored["verb"],
            stored["why"],
            tuple(stored["about"]),
            stored["outcome"],
            None if problems is None else int(problems),
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "at": rfc3339(self.at),
            "who": self.who,
            "verb": self.verb,
            "why": self.why,
            "about": list(self.about),
            "outcome": self.outcome or None,
            "problems": self.problems,
        }


def _actions(databases: Databases) -> Collection[Document]:
    kept = databases.collection(ORDERS, ACTIONS)
    # Set here, so that no URI can weaken it.
    return kept.with_options(write_concern=WriteConcern("majority", j=True, wtimeout=5_000))


def begin(
    databases: Databases, verb: str, *, who: str, why: str, about: Iterable[str] = (), id_: ObjectId | None = None
) -> ObjectId | None:
    """Record that something is about to be done, and return the record's id; None when it was recorded before."""
    id_ = id_ or ObjectId()
    new = {
        "_id": id_,
        "at": databases.now(),
        "who": who[:LONGEST],
        "verb": verb,
        "why": why[:LONGEST],
        "about": list(about)[:ABOUT],
        "outcome": "",
    }
    kept = _actions(databases)
    try:
        kept.insert_one(new)
    except DuplicateKeyError:
        return None
    for oldest in kept.find({}, {"_id": 1}).sort("_id", -1).skip(KEPT).limit(1):
        kept.delete_many({"_id": {"$lte": oldest["_id"]}})
    return id_


def end(databases: Databases, id_: ObjectId, outcome: str, problems: int | None = None) -> None:
    """Record what came of it."""
    news: dict[str, Any] = {"outcome": outcome[: 5 * LONGEST]}
    if problems is not None:
        news["problems"] = Int64(problems)
    _actions(databases).update_one({"_id": id_}, {"$set": news})


def of(databases: Databases, about: str) -> list[Action]:
    """Return what was done to a basket or a customer, the latest first."""
    return _read(databases, {"about": about}, limit=100)


def latest(databases: Databases, limit: int = 50) -> Sequence[Action]:
    """Return what was done, the latest first."""
    return _read(databases, {}, limit)


def last_verification(databases: Databases) -> Action | None:
    """Return the latest verification of everybody that came to its end; None when there was none."""
    done = {"verb": VERIFY, "about": _EVERYBODY, "problems": {"$gte": 0}}
    return next(iter(_read(databases, done, limit=1)), None)


def _read(databases: Databases, query: Document, limit: int) -> list[Action]:
    return [Action.of(each) for each in _actions(databases).find(query).sort("_id", -1).limit(limit)]
