"""Read all that the three databases hold of each user, user by user, so memory does not grow with their number."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from operate.databases import Databases, Document

_USERS_AT_ONCE: Final = 200


@dataclass
class History:
    """All that the three databases hold of one user; the archives only when they were asked for."""

    user: str
    has_archives: bool
    """Whether the archives were read."""

    accounts: list[Document]
    archived_baskets: list[Document]
    archived_deposits: list[Document]
    baskets: list[Document]
    notifications: list[Document]

    @property
    def account(self) -> Document:
        """Return the user document, empty when there is none."""
        return self.accounts[0] if self.accounts else {}


def histories(databases: Databases, user: str | None = None, *, archives: bool = False) -> Iterator[History]:
    """Yield the history of every user, or of one, in the order of their names; none of a user whom nobody knows.

    On a live system: each user document is read before the archives, so that an entry that moves meanwhile is seen
    twice rather than not at all, and before the other services, which only ever learn of what it holds.
    """
    users = databases.collection("billing", "users")
    if user is not None:
        yield from _merged(databases, list(users.find({"_id": user})), {"$eq": user}, archives)
        return
    after: dict[str, str] = {}
    while True:
        accounts = list(users.find({"_id": after} if after else {}, sort=[("_id", 1)], limit=_USERS_AT_ONCE))
        # The last batch has no end: it takes the users whom billing does not know.
        last = len(accounts) < _USERS_AT_ONCE
        between = after | ({} if last else {"$lte": accounts[-1]["_id"]})
        yield from _merged(databases, accounts, between, archives)
        if last:
            return
        after = {"$gt": accounts[-1]["_id"]}


def _merged(
    databases: Databases, accounts: Iterable[Document], between: dict[str, str], archives: bool
) -> Iterator[History]:
    """Merge what is read of a range of users, each collection in the order of users by an index."""

    def read(service: str, name: str, *order: tuple[str, int]) -> "_ByUser":
        query = {"user": between} if between else {}
        found = databases.collection(service, name).find(query, sort=[("user", 1), *order], batch_size=1000)
        return _ByUser(found, "user")

    nothing: list[Document] = []
    streams = (
        _ByUser(accounts, "_id"),
        read("billing", "paid_baskets", ("basket", 1)) if archives else _ByUser(nothing, "user"),
        read("billing", "deposits", ("key", 1)) if archives else _ByUser(nothing, "user"),
        read("orders", "baskets", ("number", 1)),
        read("notify", "notifications", ("recorded_at", -1), ("_id", -1)),
    )
    while waiting := [stream.user for stream in streams if stream.user is not None]:
        next_user = min(waiting)  # Python and MongoDB both order text by its code points
        yield History(next_user, archives, *(stream.take(next_user) for stream in streams))


class _ByUser:
    """Documents in the order of their users, taken user by user."""

    def __init__(self, documents: Iterable[Document], field: str) -> None:
        self._groups = groupby(documents, key=lambda document: document[field])
        self.user: str | None = None
        self._documents: Iterator[Document] = iter(())
        self._advance()

    def _advance(self) -> None:
        self.user, self._documents = next(self._groups, (None, iter(())))

    def take(self, user: str) -> list[Document]:
        """Return the documents of this user if it is their turn."""
        if user != self.user:
            return []
        documents = list(self._documents)
        self._advance()
        return documents
