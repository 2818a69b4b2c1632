"""Make what is missing of collections, validators and indexes, beside functions and beside other setups.

What is there already is only looked at, so a second run changes nothing and waits for nothing. One collection that
cannot be made does not keep the others from being made: all that is wrong is said at the end.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from pymongo import IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from shop.process import process
from shop.setup.databases import Databases
from shop.setup.duplicates import describe
from shop.state import COLLECTIONS, SERVICES, Collection, Index
from shop.store.client import Document
from shop.store.readiness import built_indexes, lacking

R = TypeVar("R")

_log = logging.getLogger(__name__)


class NotSetUp(Exception):
    """Say what could not be made, one paragraph each; everything else was."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


async def setup(services: tuple[str, ...] = SERVICES) -> None:
    """Make what is missing of these services' databases, and bring the validators up to date.

    Raises NotSetUp, with all that could not be made, after everything else was.
    """
    async with Databases() as databases:
        problems: list[str] = []
        unreachable: set[str] = set()
        for wanted in COLLECTIONS:
            if wanted.service not in services or wanted.service in unreachable:
                continue
            database = databases[wanted.service]
            where = f"{database.name}.{wanted.name}"
            try:
                found = await _make(database, wanted)
            except ServerSelectionTimeoutError as error:
                unreachable.add(wanted.service)
                found = [f"{database.name}: {error}\nIs MONGODB_URI right, and is it a replica set with a primary?"]
            except PyMongoError as error:
                found = [f"{where}: {error}"]
            if not found:
                _log.info("%s is set up", where)
            problems += found
    if problems:
        raise NotSetUp(problems)


async def _make(database: AsyncDatabase[Document], wanted: Collection) -> list[str]:
    """Make a collection as it must be, and return what could not be made."""
    problems = []
    await _patiently(partial(_make_collection, database, wanted))
    for index in lacking(wanted, await built_indexes(database, wanted.name)):
        try:
            await _patiently(partial(database[wanted.name].create_indexes, [_model(index)]))
        except DuplicateKeyError:
            problems.append(await describe(database, wanted, index))
        except OperationFailure as error:
            problems.append(f"{database.name}.{wanted.name} has no index {index.name}: {error}")
    return problems


async def _make_collection(database: AsyncDatabase[Document], wanted: Collection) -> None:
    there = [listed async for listed in await database.list_collections(filter={"name": wanted.name})]
    rules: dict[str, Any] = {
        "validator": {"$jsonSchema": dict(wanted.schema)},
        "validationLevel": "strict",
        "validationAction": "error",
    }
    if not there:
        # Without a look of the driver's own whether it exists: somebody may be faster between the two anyway.
        await database.create_collection(wanted.name, check_exists=False, **rules)
    elif not rules.items() <= there[0]["options"].items():
        # It takes the collection's lock, and is refused while an index is being built: only when something changes.
        await database.command("collMod", wanted.name, **rules, writeConcern={"w": "majority"})


def _model(index: Index) -> IndexModel:
    only = {"partialFilterExpression": index.only} if index.only is not None else {}
    return IndexModel(list(index.keys.items()), name=index.name, unique=index.unique, **only)


# --- beside others ---------------------------------------------------------------------------------------------------

_PASSES = {
    48: "NamespaceExists",  # another setup made it, or a function wrote to it, between our look and our try
    26: "NamespaceNotFound",  # somebody dropped it in between
    12587: "BackgroundOperationInProgressForNamespace",  # an index of it is being built
    117: "ConflictingOperationInProgress",  # the same, or it is being sharded
    276: "IndexBuildAborted",  # a build of two setups, one of which was ended
    24: "LockTimeout",
    112: "WriteConflict",
    215: "DatabaseDropPending",
}
"""What MongoDB refuses only because of what somebody else is doing at this moment."""

_TRIES = 40
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
"""Half a minute in all: what others do at the same moment is over by then, or is a build that the next run finds."""


async def _patiently(attempt: Callable[[], Awaitable[R]]) -> R:
    """Try what may be repeated until nobody is in its way, or a primary is there again."""
    wait_s = _FIRST_WAIT_S
    for _ in range(_TRIES - 1):
        try:
            return await attempt()
        except ServerSelectionTimeoutError:
            raise  # the driver has tried for 30 s
        except AutoReconnect as error:
            _log.info("again in %.2f s: %s", wait_s, error)
        except OperationFailure as error:
            if error.code not in _PASSES:
                raise
        await asyncio.sleep(process.current().limit(wait_s))
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    return await attempt()
