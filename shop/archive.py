"""Keep the arrays of a user document short, by one rule for each: what an array outgrows moves to its archive.

Promises, against any crash, repetition, race, and an archive that was restored apart from its account:

- an entry is counted as moved once, however many move it at the same time;
- that something is *not* in the archive is said only when the archive is as complete as the account says it is.

An account says how much was moved (`Moved`: count and sum), and each move changes that. So whoever looked in the
archive at one `Moved`, and then updates the account only while it still says so, has looked in all of it. Each entry
of an archive says what `Moved` was with it (`position` and `through`), so one look also tells whether the latest is
there. Where it is not, for 67d5614 moved last and wrote neither, the whole archive is added up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from bson import Int64
from pymongo import UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from shop import state
from shop.errors import Code, Unavailable
from shop.process import process
from shop.store import client
from shop.store.client import Document
from shop.store.shared import LENGTH

R = TypeVar("R")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Moved:
    """How much of an array was moved, as its account says. Every move changes it, and no later one changes it back.

    The sum stands beside the count because 67d5614 moved paid baskets without counting them: while its processes run
    beside ours, it is the sum that tells of their moves.
    """

    count: int = 0
    sum: int = 0


class Ahead(Exception):
    """The archive does not fit the account: something was moved since, or one of them is older."""


_RACES = 10
"""How often an account may change between two looks at it: an archive grows with each 32nd payment or deposit only."""


@dataclass(frozen=True)
class Archive:
    """The archive of one array of the accounts in `billing.users`."""

    array: str
    """The array's name in the account, and the archive's as a collection."""

    key: str
    """What names an entry, beside the user."""

    count: str
    sum: str
    """The fields of `archived` in the account that say how much was moved."""

    def _collection(self) -> AsyncCollection[Document]:
        return client.collection(state.BILLING, self.array)

    def moved(self, account: Document) -> Moved:
        """Return how much was moved."""
        archived = account.get("archived", {})
        return Moved(archived.get(self.count, 0), archived.get(self.sum, 0))

    def is_still(self, moved: Moved) -> Mapping[str, Any]:
        """Return the condition, for an update, that nothing was moved since."""
        said = {self.count: moved.count, self.sum: moved.sum}
        return {
            "$and": [
                {"$eq": [{"$ifNull": [f"$archived.{field}", Int64(0)]}, Int64(value)]} for field, value in said.items()
            ]
        }

    # --- looking -----------------------------------------------------------------------------------------------------

    async def settle(
        self,
        key: object,
        update: Callable[[Moved | None, AsyncClientSession], Awaitable[Document | None]],
        read: Callable[[Document | None, Document | None], Awaitable[R | None]],
        *,
        may_hold: Callable[[Document], bool],
        looked: Moved | None = None,
    ) -> R:
        """Update an account until it is certain what became of the entry with this key, and return what `read` says.

        `update` acts when the entry is new, while no more than `looked` was moved, and returns the account. `read` is
        given that and the entry, and returns None when it has to be tried again. Only an archive that `may_hold` the
        entry is looked in, and then the update comes again, on the condition that nothing was moved since the look.

        Raises Unavailable when the archive is not complete, or holds more than the account moved there.
        """
        was_ahead = False
        async with client.session() as session:
            for _ in range(_RACES):
                account = await update(looked, session)
                entry = None if account is None else _find(account.get(self.array, ()), self.key, key)
                if account is not None and entry is None and self.moved(account) != looked and may_hold(account):
                    try:
                        entry = await self.find(account, key, session)
                    except Ahead:
                        # What was moved since the update before is in the account by now.
                        if was_ahead and await self._is_latest(account):
                            raise self.unfit(account) from None
                        was_ahead = True
                        continue
                    if entry is None:
                        looked = self.moved(account)
                        continue
                if (answer := await read(account, entry)) is not None:
                    return answer
        raise Unavailable(Code.TOO_MANY_UPDATES, "too many concurrent updates of this account; try again")

    async def find(self, account: Document, key: object, session: AsyncClientSession) -> Document | None:
        """Return the entry with this key; None when it is certain that none was moved.

        To be called in the session of the update that read the account, so that the archive is read as it was then, or
        later. None counts only for an update on the condition `is_still(moved(account))`.

        Raises Ahead, and Unavailable when the archive holds less than the account says: absence proves nothing then.
        """
        moved = self.moved(account)
        if moved == Moved():
            wanted: list[Document] = [{self.key: key}]
        else:
            wanted = [{self.key: key}, _latest(moved)]
        found = await self._collection().find({"user": account["_id"], "$or": wanted}, session=session).to_list()
        entry = next((each for each in found if each[self.key] == key), None)
        if entry is not None:
            if entry.get("through", 0) > moved.sum:
                raise Ahead
            return entry
        if moved != Moved() and not found:
            await self._check(account, await self._held(account, session))
        return None

    async def _is_latest(self, account: Document) -> bool:
        """Tell whether the account still holds, and has moved, what it did. The read is of now, for good.

        To be asked before the archive is said to be unfit: a move that began between two reads looks like one. It may
        have ended (then more was moved), or only inserted entries that came after the account was read.
        """
        latest = await client.latest(_users()).find_one({"_id": account["_id"]})
        return (
            latest is not None
            and self.moved(latest) == self.moved(account)
            and latest.get(self.array) == account.get(self.array)
        )

    async def _held(self, account: Document, session: AsyncClientSession | None) -> Moved:
        """Add up what the archive holds of what was moved.

        What still is in the array does not count (a move that ended halfway left it in both), nor what came later.
        """
        in_array = [entry[self.key] for entry in account.get(self.array, ())]
        later = {"$gt": Int64(self.moved(account).sum)}
        held = await self._collection().aggregate(
            [
                {"$match": {"user": account["_id"], self.key: {"$nin": in_array}, "through": {"$not": later}}},
                {"$group": {"_id": None, "count": {"$sum": Int64(1)}, "sum": {"$sum": "$sum"}}},
            ],
            session=session,
        )
        totals = await held.to_list()
        return Moved(totals[0]["count"], totals[0]["sum"]) if totals else Moved()

    async def _check(self, account: Document, held: Moved) -> None:
        """Raise Unavailable when the archive holds less than was moved, and Ahead when the account is old by now.

        The balance is a second witness: 67d5614 could count one move of paid baskets several times, and the archive is
        whole all the same when it explains the balance.
        """
        if held.sum == self.moved(account).sum:
            return
        if self is PAID_BASKETS:
            deposited = DEPOSITS.moved(account).sum + _total(account, DEPOSITS)
            if account.get("balance") == deposited - _total(account, self) - held.sum:
                return
        raise self.unfit(account) if await self._is_latest(account) else Ahead

    def unfit(self, account: Document) -> Unavailable:
        """Say, and log, that the archive is no witness: it holds something else than the account moved there."""
        _log.error(
            "the archive billing.%s does not hold what the account of %r moved there (%s entries that were counted, "
            "%s in all): it is from another backup than billing.users. Restore both as of one moment; until then "
            "whatever rests on the archive is answered 503",
            *(self.array, account["_id"], self.moved(account).count, self.moved(account).sum),
        )
        return Unavailable(
            Code.HISTORY_INCOMPLETE,
            "this user's history is not complete, so it cannot be told whether this was done before; somebody has to "
            "look into it (the log says what to do)",
        )

    # --- moving ------------------------------------------------------------------------------------------------------

    async def bound(self, account: Document) -> None:
        """Move the oldest entries to the archive when there are many. It never fails: the next message tries again.

        An account that is shown in part is read again. To be called when the answer is certain: nothing that happens
        here, a cancellation included, may take the answer's place.
        """
        limits = process.current().settings.array_limits
        if account.get(LENGTH, len(account.get(self.array, ()))) < limits.limit:
            return
        try:
            whole = await _users().find_one({"_id": account["_id"]}) if LENGTH in account else account
            if whole is not None:
                await self._move(whole, whole[self.array][: limits.batch])
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, the answer is certain
            _log.warning(
                "archiving %s failed, the next message tries again: %s %s", self.array, type(error).__name__, error
            )

    async def _move(self, account: Document, entries: list[Document]) -> None:
        """Insert into the archive, then pull from the account. A crash between the two leaves both, which harms nobody.

        The pull is conditional on the account saying what it said: of all that move the same entries one counts them.
        """
        user, moved = account["_id"], self.moved(account)
        before = await self._before(account)
        if await self._has_strangers(account):
            return
        archived = account.get("archived", {})
        upserts, count, through = [], before.count, before.sum
        for entry in entries:
            count, through = count + 1, through + entry["sum"]
            new = {**entry, "user": user, "position": Int64(count), "through": Int64(through)}
            upserts.append(UpdateOne({"user": user, self.key: entry[self.key]}, {"$setOnInsert": new}, upsert=True))
        await self._collection().bulk_write(upserts, ordered=False)
        as_read = {f"archived.{field}": archived.get(field) for field in (self.count, self.sum)}  # None: there was none
        changes: dict[str, Any] = {
            "$pull": {self.array: {self.key: {"$in": [entry[self.key] for entry in entries]}}},
            "$inc": {
                f"archived.{self.count}": Int64(count - moved.count),
                f"archived.{self.sum}": Int64(through - moved.sum),
            },
        }
        if "number" in entries[0]:  # a fast path: a number above it needs no look in the archive
            changes["$max"] = {"archived_through": max(entry["number"] for entry in entries)}
        await _users().update_one({"_id": user, **as_read}, changes)

    async def _has_strangers(self, account: Document) -> bool:
        """Tell whether the archive holds entries that are neither counted nor, one by one, the next of the array.

        Those that are were inserted by a move that has not ended. A stranger is from another history: the accounts were
        restored from an older backup than the archive. A move beside it would be taken for it, or it for the move.
        Raises Unavailable for that. Returns True when the account is only old by now, for others have moved since.
        """
        moved, array = self.moved(account), account[self.array]
        later = {"position": {"$gt": Int64(moved.count)}, "through": {"$gt": Int64(moved.sum)}}
        ahead = await (
            self._collection()
            .find({"user": account["_id"], **later}, sort=[("position", 1)], limit=len(array) + 1)
            .to_list()
        )
        if len(ahead) <= len(array) and all(
            entry.items() <= stored.items() for entry, stored in zip(array, ahead, strict=False)
        ):
            return False
        if await self._is_latest(account):
            raise self.unfit(account)
        return True

    async def _before(self, account: Document) -> Moved:
        """Return what was moved before. Raises Unavailable when some of it is missing: a move would hide that."""
        moved = self.moved(account)
        if moved == Moved():
            return moved
        latest = {"user": account["_id"], **_latest(moved)}
        if await self._collection().find_one(latest, projection={"_id": True}) is not None:
            return moved
        held = await self._held(account, None)
        await self._check(account, held)
        return held


def _users() -> AsyncCollection[Document]:
    return client.collection(state.BILLING, state.USERS)


def _find(entries: Any, key: str, value: object) -> Document | None:
    return next((entry for entry in entries if entry[key] == value), None)


def _latest(moved: Moved) -> Document:
    return {"position": Int64(moved.count), "through": Int64(moved.sum)}


def _total(account: Document, archive: Archive) -> int:
    return sum(entry["sum"] for entry in account.get(archive.array, ()))


PAID_BASKETS = Archive(array=state.PAID_BASKETS, key="basket", count="paid_baskets", sum="paid")
DEPOSITS = Archive(array=state.DEPOSITS, key="key", count="deposits", sum="deposited")
