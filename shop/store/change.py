"""Change one document by one update, and answer by what it holds after.

Promise: what is refused for good was looked at as it is now, not as a primary that was replaced had it.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection

from shop.errors import Code, Rejected, Unavailable
from shop.store import shared
from shop.store.client import Document, latest
from shop.store.pipeline import Pipeline

R = TypeVar("R")


async def upsert(
    into: AsyncCollection[Document],
    key: Mapping[str, Any],
    update: Mapping[str, Any] | Pipeline,
) -> Document:
    """Apply an update to the document with this key, made if there is none, and return it after that.

    The key is a unique key and nothing else: a condition beside it would turn a normal race into a duplicate key error.
    """
    stored = await into.find_one_and_update(key, update, upsert=True, return_document=ReturnDocument.AFTER)
    if stored is None:
        raise AssertionError("an upsert that returns the document after it has one")
    return stored


async def is_latest(of: AsyncCollection[Document], key: Mapping[str, Any], seen: Document | None) -> bool:
    """Tell whether this is the latest of a document, or of its absence, before something is refused because of it.

    What an update changed is the latest. One that changed nothing had nothing to wait for: the primary that looked may
    have been replaced, and a basket or an account that it does not know is there all the same.
    """
    return await latest(of).find_one(key) == seen


_RACES = 10
"""How often a document may change between an update that refuses and the look at whether that was the latest."""


async def update(
    of: AsyncCollection[Document],
    key: Mapping[str, Any],
    change: Pipeline,
    read: Callable[[Document | None], R],
    *,
    changed: R | None = None,
    done_at: Callable[[Document], Any] = lambda _: None,
) -> R:
    """Apply an update and return what `read` makes of the document after it (None: there is none).

    `changed` is the answer when this very update is known to have changed something: then nothing is read. When it only
    seems so, by the time that `done_at` finds in the document, it is the answer too, as soon as `read` raises nothing.

    One round trip, shared with who comes at the same time. What `read` raises as Rejected is raised only when it rests
    on what the document was right after an update of our own, and on the latest state; else it is tried again.
    """
    it = shared.Statement(key, change, only_unchanged=changed is not None, done_at=done_at)
    seen = await shared.apply(of, it)
    if seen is not None:
        if seen.changed and changed is not None:
            return changed
        with suppress(Rejected):
            answer = read(seen.document)
            return changed if seen.first and changed is not None else answer
    for _ in range(_RACES):
        stored = await of.find_one_and_update(key, change, return_document=ReturnDocument.AFTER)
        try:
            return read(stored)
        except Rejected:
            if await is_latest(of, key, stored):
                raise
    raise Unavailable(Code.TOO_MANY_UPDATES, "too many concurrent updates; try again")
