"""Make collections, indexes and validators: `python -m shop.setup [orders] [billing] [notify]`, at any time again.

The unique indexes are part of the protocol: without (user, number) two baskets of one number could be made at once. The
validators are the last line: whatever a bug or a hand writes, a balance is a whole number and never negative.
"""

import asyncio
import logging
import sys

from pymongo import IndexModel
from pymongo.errors import CollectionInvalid, PyMongoError

from shop import log, mongo
from shop.process import settings
from shop.state import COLLECTIONS as COLLECTIONS
from shop.state import SERVICES, Collection, Index

_log = logging.getLogger(__name__)


async def setup(services: tuple[str, ...] = SERVICES) -> None:
    """Make what is missing of these services' databases, and bring the validators up to date."""
    for wanted in COLLECTIONS:
        if wanted.service in services:
            await _make(wanted)
            _log.info("%s.%s is set up", settings.get().databases[wanted.service], wanted.name)


async def _make(wanted: Collection) -> None:
    database = mongo.database(wanted.service)
    validator = {"$jsonSchema": dict(wanted.schema)}
    try:
        await database.create_collection(wanted.name, validator=validator)
    except CollectionInvalid:  # it is there
        await database.command("collMod", wanted.name, validator=validator)
    if wanted.indexes:
        await database[wanted.name].create_indexes([_model(index) for index in wanted.indexes])


def _model(index: Index) -> IndexModel:
    only = {"partialFilterExpression": index.only} if index.only is not None else {}
    return IndexModel(list(index.keys.items()), name=index.name, unique=index.unique, **only)


async def _main(services: tuple[str, ...]) -> None:
    try:
        await setup(services)
    except PyMongoError as error:
        sys.exit(f"MongoDB could not be set up: {error}\nIs MONGODB_URI right, and is it a replica set with a primary?")
    finally:
        await mongo.close()


def main() -> None:
    """Set up the services named, or all of them."""
    services = tuple(sys.argv[1:]) or SERVICES
    if unknown := set(services) - set(SERVICES):
        sys.exit(
            f"there is no service {', '.join(sorted(unknown))}; name some of {', '.join(SERVICES)}, or none for all"
        )
    log.to_stdout()
    asyncio.run(_main(services))


if __name__ == "__main__":
    main()
