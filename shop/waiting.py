"""Wait until an attempt to pay a basket is decided.

Promises: all who wait in one process share one look at MongoDB per tick, however many they are, and nobody looks when
nobody waits. A failing MongoDB fails nobody who waits. The state is in MongoDB alone: it does not matter which process
settles the basket.
"""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field

from bson import Int64, ObjectId
from pymongo.errors import PyMongoError

from shop.process import process
from shop.state import BASKETS, ORDERED, ORDERS
from shop.store import client, shared
from shop.store.client import Document

_log = logging.getLogger(__name__)

SHORTEST_TICK_S, LONGEST_TICK_S = 0.005, 0.1
"""However fast the shop is, looks are little load; however slow it is, an outcome is known soon."""

LOOKS_A_WAIT = 5
"""How many looks the usual wait takes: an answer is late by a tenth of a wait, on average."""

FIRST_LOOK_AFTER = 0.6
"""Which part of the usual wait somebody has waited before anybody looks: nearly no outcome is there earlier."""

_WEIGHT = 1 / 8
"""What the latest wait weighs in the usual one, which so follows a change within a dozen waits."""

LOOK_S = 2.0
"""The longest look. A look that hangs keeps everybody from the next one."""


async def decided(user: str, basket: ObjectId, attempt: int) -> Document:
    """Return a basket of the user as soon as this attempt, which was ordered, is decided; whoever calls bounds that.

    It is cancelled when the process ends.
    """
    return await everybody().decided(_Attempt(user, basket, attempt))


def everybody() -> "Waiting":
    """Return all who wait in this process."""
    return process.current().once(Waiting)


@dataclass(frozen=True)
class _Attempt:
    user: str
    basket: ObjectId
    number: int
    came: float = field(default_factory=time.monotonic)

    def is_decided(self, basket: Document) -> bool:
        """Tell whether the basket, which may be as it was before the wait began, has this attempt's decision."""
        if basket["attempt"] == self.number:
            return bool(basket["status"] != ORDERED)
        return bool(basket["attempt"] > self.number)  # attempt n + 1 exists only after attempt n was declined


class Waiting:
    """All who wait in one process, and the one who looks for them."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[Document], _Attempt] = {}
        self._looking: asyncio.Task[None] | None = None
        self._usual_s = 0.1  # as on a shop with little to do, until it is known
        self._came = time.monotonic()
        self._is_over = False

    async def decided(self, attempt: _Attempt) -> Document:
        """Return the basket once the attempt is decided; whoever is cancelled is forgotten."""
        future: asyncio.Future[Document] = asyncio.get_running_loop().create_future()
        if self._is_over:
            future.cancel()
        elif self._looking is None:
            self._looking = asyncio.create_task(self._look())
        self._waiting[future] = attempt
        self._came = attempt.came
        try:
            return await future
        finally:
            del self._waiting[future]
            self._took(time.monotonic() - attempt.came)

    def end(self) -> None:
        """Let nobody wait any longer: the process is about to end."""
        self._is_over = True
        for future in self._waiting:
            future.cancel()

    async def close(self) -> None:
        """End, and stop looking."""
        self.end()
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    @property
    def tick_s(self) -> float:
        """How long until the next look: a part of the usual wait, which is right for a fast shop and for a slow one.

        When nobody has come for longer than that, the wait of all who are left is an unusual one already.
        """
        wait_s = max(self._usual_s, time.monotonic() - self._came)
        return min(max(wait_s / LOOKS_A_WAIT, SHORTEST_TICK_S), LONGEST_TICK_S)

    @property
    def next_look_s(self) -> float:
        """How long until the next look: a tick, or longer, until who came first has waited most of the usual wait."""
        first = next(iter(self._waiting.values()))
        early_s = first.came + self._usual_s * FIRST_LOOK_AFTER - time.monotonic()
        return min(max(early_s, self.tick_s), LONGEST_TICK_S)

    def _took(self, seconds: float) -> None:
        # A wait that was given up says only that it would have been longer; beyond this it would change no tick.
        longest = LONGEST_TICK_S * LOOKS_A_WAIT
        self._usual_s += (min(seconds, longest) - self._usual_s) * _WEIGHT

    async def _look(self) -> None:
        """Look once a tick, as long as somebody waits."""
        try:
            while self._waiting:
                await asyncio.sleep(self.next_look_s)
                try:
                    await self._look_once()
                except PyMongoError as error:
                    _log.warning("nobody knows what was decided, until the next look: %s", error)
        finally:
            self._looking = None

    async def _look_once(self) -> None:
        attempts = self._waiting.values()
        if not attempts:
            return
        # A durable read is enough: a decision is final. And what it finds was so after the wait began, for the attempt
        # was not decided then.
        changed = [{"status": {"$ne": ORDERED}}, {"attempt": {"$gt": Int64(min(each.number for each in attempts))}}]
        wanted = {
            "_id": {"$in": list({each.basket for each in attempts})},
            "user": {"$in": list({each.user for each in attempts})},
            "$or": changed,
        }
        found = await shared.look_for(client.collection(ORDERS, BASKETS), wanted, len(attempts), within_s=LOOK_S)
        baskets = {basket["_id"]: basket for basket in found}
        for future, attempt in self._waiting.items():
            basket = baskets.get(attempt.basket)
            if basket is not None and attempt.is_decided(basket) and not future.done():
                future.set_result(basket)
