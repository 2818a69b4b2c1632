"""The command `python -m shop.setup`."""

import argparse
import asyncio
import logging
import sys

from pymongo.errors import PyMongoError

from shop.process import process
from shop.setup import NotSetUp, initiate, make_users, mend, restored, setup, shard
from shop.setup.initiating import NotInitiated
from shop.setup.restoring import NotRestored
from shop.setup.sharding import NotSharded
from shop.setup.users import lacking_passwords
from shop.state import SERVICES

_HELP = """\
Make the collections, unique indexes and validators of the shop's databases. Run it before the first function is
deployed, and with each new version; it is safe to re-run, also while functions run.

MONGODB_URI names the MongoDB of all three databases; ORDERS_MONGODB_URI, BILLING_MONGODB_URI and NOTIFY_MONGODB_URI
name one each. ORDERS_DATABASE, BILLING_DATABASE and NOTIFY_DATABASE rename the databases.

With --users, ORDERS_MONGODB_PASSWORD, BILLING_MONGODB_PASSWORD, NOTIFY_MONGODB_PASSWORD and AUDIT_MONGODB_PASSWORD hold
the users' passwords.
"""


def main() -> None:
    """Do what the arguments say. Exit 0: done; 1: some of it could not be done; 2: wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m shop.setup",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("services", nargs="*", metavar="service", help=f"some of {', '.join(SERVICES)}; none: all")
    verbs = parser.add_mutually_exclusive_group()
    verbs.add_argument(
        "--restored",
        action="store_true",
        help="after a restore of any database, while no function runs: begin a new epoch in all three, ask again for "
        "what is still ordered, then set up",
    )
    verbs.add_argument(
        "--mend",
        action="store_true",
        help="first remove duplicates that keep a unique index from being made, when no money hangs on them",
    )
    verbs.add_argument(
        "--shard", action="store_true", help="set up, then shard each collection by user; MongoDB must be a mongos"
    )
    verbs.add_argument(
        "--users",
        action="store_true",
        help="set up, then make in each database the user of its service, who may do what its functions do, and audit, "
        "who reads; run it again to change a password",
    )
    verbs.add_argument(
        "--initiate",
        action="store_true",
        help="first wait for a MongoDB of one node, and make it the replica set that its URI names; for one to try",
    )
    arguments = parser.parse_args()
    services = tuple(arguments.services) or SERVICES
    if unknown := sorted(set(services) - set(SERVICES)):
        parser.error(f"there is no service {', '.join(unknown)}; name some of {', '.join(SERVICES)}, or none for all")
    if arguments.restored and set(services) != set(SERVICES):
        parser.error("--restored is for all three databases; name no service")
    process.start()
    if arguments.users and (lacking := lacking_passwords(services)):
        parser.error(f"--users needs passwords; set {', '.join(lacking)} in the environment")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        asyncio.run(_run(arguments, services))
    except (NotInitiated, NotSetUp, NotRestored, NotSharded) as error:
        sys.exit(str(error))
    except PyMongoError as error:
        sys.exit(f"MongoDB did not do it: {error}")


async def _run(arguments: argparse.Namespace, services: tuple[str, ...]) -> None:
    if arguments.initiate:
        await initiate(services)
    if arguments.restored:
        await restored()
    stay = await mend(services) if arguments.mend else []
    try:
        await setup(services)
    except NotSetUp as error:
        if stay:
            raise NotSetUp([*error.problems, "Somebody has to decide about these:", *stay]) from error
        raise
    if arguments.shard:
        await shard(services)
    if arguments.users:
        await make_users(services)


if __name__ == "__main__":
    main()
