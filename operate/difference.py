"""Compare the state of the shop before and after: which documents, which of their fields, and what that means.

Both states are kept in a temporary file, so that their size does not matter.
"""

import hashlib
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from operate.databases import Databases, Document
from operate.payments import Payment
from shop.messages import event_id, rfc3339
from shop.schema.events_pb2 import PaymentDecided, PaymentRequested
from shop.state import ACTIONS, COLLECTIONS

_RAW: Final = bson.CodecOptions(document_class=RawBSONDocument, tz_aware=True)
_DECODED: Final = bson.CodecOptions[Document](tz_aware=True)
_KEYS_AT_ONCE: Final = 1000  # of one query; some 100 KB of keys

_TABLE: Final = """
    CREATE TABLE state (moment TEXT, key BLOB, name TEXT, document BLOB, PRIMARY KEY (moment, key)) WITHOUT ROWID
"""
_DIFFERENCES: Final = """
    SELECT b.key, b.name, b.document, a.document
        FROM state b LEFT JOIN state a ON a.moment = 'after' AND a.key = b.key
        WHERE b.moment = 'before' AND b.document IS NOT a.document
    UNION ALL
    SELECT a.key, a.name, NULL, a.document
        FROM state a LEFT JOIN state b ON b.moment = 'before' AND b.key = a.key
        WHERE a.moment = 'after' AND b.key IS NULL
"""

_MEANINGS: Final = 3  # of one account; the fields tell the rest

RESEND_FIELD: Final = "resend_at"
"""The one field that changes by itself: resend claims a basket by it, each minute."""

Key = tuple[str, Any]
"""A collection, such as `billing.users`, and the `_id` of a document in it."""


@dataclass
class Scope:
    """What a set of events is about: the documents that deliveries of them may touch, and their effects."""

    users: set[str] = field(default_factory=set)
    baskets: set[ObjectId] = field(default_factory=set)
    requested: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)

    def add(self, about: Payment) -> None:
        """Add what an event is about."""
        self.users.add(about.user)
        if ObjectId.is_valid(about.basket):
            self.baskets.add(ObjectId(about.basket))
        effects = self.requested if isinstance(about, PaymentRequested) else self.decided
        effects.add(event_id(about))

    def queries(self) -> Iterator[tuple[str, str, str, Iterable[object]]]:
        """Yield service, collection, field and its values, for everything that the events may touch."""
        yield "orders", "baskets", "_id", self.baskets
        yield "billing", "users", "_id", self.users
        yield "billing", "paid_baskets", "user", self.users
        yield "notify", "notifications", "_id", self.requested | self.decided


@dataclass(frozen=True)
class Due:
    """An ordered basket, and when resend may claim it."""

    user: str
    basket: ObjectId
    attempt: int
    at: datetime


class States:
    """The documents of a scope, or all of them, at two moments: `before` and `after`."""

    def __init__(self, databases: Databases, scope: Scope, *, everything: bool = False) -> None:
        self._databases = databases
        self._scope = scope
        self._everything = everything
        self._file = sqlite3.connect("")  # a temporary file, removed when it is closed
        self._file.execute(_TABLE)
        self._due: list[Due] = []
        self._excluded: set[Key] = set()
        self.taken: dict[str, Effects] = {}
        """The effects that were there at each moment."""

    def take(self, moment: str) -> None:
        """Read the documents as they are now."""
        effects = Effects(self._scope)
        for batch in _batches(self._read(), _KEYS_AT_ONCE):
            for name, raw in batch:
                effects.add(name, raw)
                if moment == "before" and RESEND_FIELD in raw:
                    self._due.append(Due(raw["user"], raw["_id"], raw["attempt"], raw[RESEND_FIELD]))
            # A document that moved while it was read may come twice; the later reading counts.
            rows = ((moment, *_row(name, raw)) for name, raw in batch)
            self._file.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)", rows)
        self.taken[moment] = effects

    def _read(self) -> Iterator[tuple[str, RawBSONDocument]]:
        if self._everything:
            for wanted in COLLECTIONS:
                if wanted.name == ACTIONS:
                    continue  # what people do is no effect of an event
                documents = self._databases.collection(wanted.service, wanted.name, _RAW).find()
                yield from ((f"{wanted.service}.{wanted.name}", raw) for raw in documents)
            return
        for service, name, key, values in self._scope.queries():
            collection = self._databases.collection(service, name, _RAW)
            for batch in _batches(values, _KEYS_AT_ONCE):
                yield from ((f"{service}.{name}", raw) for raw in collection.find({key: {"$in": batch}}))

    def exclude_resent(self, now: datetime) -> int:
        """Leave out what resend may have changed by itself: baskets that became due for it before `now`.

        Return how many baskets that are.
        """
        due = [each for each in self._due if each.at <= now]
        for each in due:
            self._excluded |= {
                ("orders.baskets", each.basket),
                ("billing.users", each.user),
                ("notify.notifications", f"{each.basket}.{each.attempt}"),
            }
        return len(due)

    def size(self, moment: str) -> int:
        """Return how many documents there were."""
        (number,) = self._file.execute("SELECT count(*) FROM state WHERE moment = ?", (moment,)).fetchone()
        return int(number)

    def digest(self, moment: str) -> str:
        """Return a hash of all documents of a moment that are compared."""
        digest = hashlib.sha256()
        rows = self._file.execute("SELECT key, document FROM state WHERE moment = ? ORDER BY key", (moment,))
        for key, document in rows:
            if _key(key) not in self._excluded:
                digest.update(document)
        return digest.hexdigest()

    def differences(self) -> Iterator["Difference"]:
        """Yield each document that was changed, made or removed, but for those that resend may have changed."""
        for key, name, before, after in self._file.execute(_DIFFERENCES):
            if _key(key) not in self._excluded:
                yield Difference(name, _decoded(before), _decoded(after))

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()


def _row(name: str, raw: RawBSONDocument) -> tuple[bytes, str, bytes]:
    """Return a document as it is compared: the key of its place, and its bytes without what changes by itself."""
    kept = bytes(raw.raw)
    if RESEND_FIELD in raw:
        kept = bson.encode({field: value for field, value in raw.items() if field != RESEND_FIELD})
    return bson.encode({"collection": name, "_id": raw["_id"]}), name, kept


def _key(encoded: bytes) -> Key:
    key = bson.decode(encoded)
    return key["collection"], key["_id"]


def _decoded(document: bytes | None) -> Document:
    return {} if document is None else bson.decode(document, _DECODED)


def _batches(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(values)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


class Effects:
    """Which effects of a scope's events there are: what was decided, how often charged, settled or notified."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.known: dict[tuple[str, str], tuple[str, ...]] = {}

    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """Note what a document of this collection tells."""
        if name == "billing.users":
            for paid in document.get("paid_baskets", ()):
                self._note(PaymentRequested, f"{paid['basket']}.{paid['attempt']}", "paid")
            if declined := document.get("declined"):
                self._note(PaymentRequested, f"{declined['basket']}.{declined['attempt']}", "declined")
        elif name == "billing.paid_baskets":
            self._note(PaymentRequested, f"{document['basket']}.{document['attempt']}", "paid")
        elif name == "orders.baskets":
            self._note(PaymentDecided, f"{document['_id']}.{document['attempt']}", document["status"])
        elif name == "notify.notifications":
            self._note(PaymentDecided, document["_id"], f"notified {document['outcome']}")

    def _note(self, kind: type, id_: str, effect: str) -> None:
        if id_ in (self._scope.requested if kind is PaymentRequested else self._scope.decided):
            key = (kind.__name__, id_)
            self.known[key] = (*self.known.get(key, ()), effect)

    def since(self, before: "Effects") -> tuple[int, int]:
        """Return how many effects came or changed since: applied, and declined."""
        changed = [effects for key, effects in self.known.items() if before.known.get(key) != effects]
        declined = sum(effects[-1] in ("declined", "open", "notified declined") for effects in changed)
        return len(changed) - declined, declined


@dataclass(frozen=True)
class Difference:
    """One document that is not as it was; empty before when it was made, and after when it was removed."""

    collection: str
    before: Document
    after: Document

    @property
    def title(self) -> str:
        """Name the document, as a person would look for it."""
        document = self.before or self.after
        of = f" of {document['user']}" if "user" in document else ""
        return f"{self.collection} {document['_id']}{of}"

    @property
    def meaning(self) -> str:
        """Say in words what the change amounts to."""
        if not self.before:
            return "made"
        if not self.after:
            return "removed"
        if self.collection == "billing.users":
            return _meaning_of_account(self.before, self.after)
        if self.collection == "orders.baskets" and self.before["status"] != self.after["status"]:
            return (
                f"{self.before['status']} at attempt {self.before['attempt']} "
                f"became {self.after['status']} at attempt {self.after['attempt']}"
            )
        return "changed"

    @property
    def fields(self) -> list[tuple[str, str, str]]:
        """Return the fields that differ, with their values before and after; empty text is absent."""
        before, after = dict(_flat(self.before)), dict(_flat(self.after))
        names = [*before, *(name for name in after if name not in before)]
        pairs = ((name, before.get(name, ""), after.get(name, "")) for name in names)
        return [(name, old, new) for name, old, new in pairs if old != new]

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        fields = {name: {"before": old or None, "after": new or None} for name, old, new in self.fields}
        key = str((self.before or self.after)["_id"])
        return {"collection": self.collection, "document": key, "meaning": self.meaning, "fields": fields}


def _meaning_of_account(before: Document, after: Document) -> str:
    meanings = []
    entries = list(before.get("paid_baskets", ()))
    declined = before.get("declined") or {}
    for entry in after.get("paid_baskets", ()):
        if entry in entries:
            entries.remove(entry)
            continue
        what = f"basket {entry['basket']} attempt {entry['attempt']}, sum {entry['sum']}"
        if any(paid["basket"] == entry["basket"] for paid in after["paid_baskets"] if paid is not entry):
            meanings.append(f"charged AGAIN for {what}")
        elif declined.get("basket") == entry["basket"] and declined["attempt"] >= entry["attempt"]:
            meanings.append(f"charged for what was DECLINED: {what}")
        else:
            meanings.append(f"charged for {what}")
    remembered = after.get("declined")
    if remembered and remembered != declined:
        meanings.append(f"declined basket {remembered['basket']} attempt {remembered['attempt']}")
    more = len(meanings) - _MEANINGS
    return "; ".join(meanings[:_MEANINGS]) + (f"; and {more} more" if more > 0 else "") or "changed"


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields of a document by their paths; an entry of an array goes by its basket or key, and as a whole."""
    if isinstance(value, Mapping):
        for each, inner in value.items():
            yield from _flat(inner, f"{name}.{each}" if name else each)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        seen: dict[str, int] = {}
        for entry in value:
            label = str(entry.get("basket", entry.get("key")))
            seen[label] = seen.get(label, 0) + 1
            again = f" #{seen[label]}" if seen[label] > 1 else ""
            shown = ", ".join(f"{key} {_shown(inner)}" for key, inner in entry.items() if key not in ("basket", "key"))
            yield f"{name}[{label}]{again}", shown
    else:
        yield name, _shown(value)


def _shown(value: object) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)
