"""Make the users of MongoDB: one a service, for its functions, and `audit`, who reads.

Promise: with the user of a service one can do what its functions do, and nothing else. It finds and writes documents
of its own database, beneath the validators, and takes none away; it drops and changes no index, no collection and no
user, and begins no epoch. Each user lives in the database that it is for, so a MongoDB may hold several shops, and a
database that is restored under a new name has users, and passwords, of its own.

Safe to run again: what is right already is not touched. A user who can log in with its password keeps it.
"""

import logging
from dataclasses import dataclass
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from shop.process import process
from shop.setup.databases import Databases
from shop.setup.making import NotSetUp
from shop.state import META, SERVICES, Collection, of
from shop.store.client import Document

_log = logging.getLogger(__name__)

AUDIT: Final = "audit"
"""Who reads, in each of the three databases: for `orders verify`, and whoever looks."""

_MAJORITY: Final[Document] = {"writeConcern": {"w": "majority"}}

_UNAUTHORIZED: Final = 13
_THERE_ALREADY: Final = frozenset({51002, 51003})
"""A role, a user: another setup made it between our look and our try."""


@dataclass(frozen=True)
class User:
    """A user of a database, with the one role of the same name that it has there."""

    name: str
    privileges: list[Document]
    """As MongoDB lists them: what may be done with which collection."""


def password_variable(name: str) -> str:
    """Return the name of the variable that holds a user's password."""
    return f"{name.upper()}_MONGODB_PASSWORD"


def users_of(service: str, database: str) -> list[User]:
    """Return the users of a service's database: for its functions, and for who audits."""
    reads = [_privilege(database, each.name, ["find"]) for each in of(service)]
    return [
        User(service, [_privilege(database, each.name, _actions(each)) for each in of(service)]),
        User(AUDIT, [_privilege(database, "", ["listCollections"]), *reads]),
    ]


def _actions(collection: Collection) -> list[str]:
    """Return what functions do with a collection: they look whether its indexes are there, and remove nothing."""
    return ["find"] if collection.name == META else ["find", "insert", "listIndexes", "update"]


def _privilege(database: str, collection: str, actions: list[str]) -> Document:
    return {"resource": {"db": database, "collection": collection}, "actions": actions}


def lacking_passwords(services: tuple[str, ...] = SERVICES) -> list[str]:
    """Return the variables that `make_users` needs and nobody has set."""
    known = process.current().settings.mongodb_passwords
    return [password_variable(name) for name in (*services, AUDIT) if name not in known]


async def make_users(services: tuple[str, ...] = SERVICES) -> None:
    """Make what is missing of the users of these services' databases, and change what is not as it must be.

    Raises NotSetUp, with all that could not be made, after everything else was.
    """
    async with Databases() as databases:
        problems = []
        for service in services:
            database = databases[service]
            try:
                for user in users_of(service, database.name):
                    await _make(databases, service, user)
                    _log.info("%s has its user %s", database.name, user.name)
            except OperationFailure as error:
                problems.append(f"{database.name} has not all of its users: {_reason(error)}")
            except PyMongoError as error:
                problems.append(f"{database.name} has not all of its users: {error}")
            else:
                await _say_if_nobody_asks(databases, service)
    if problems:
        raise NotSetUp(problems)


def _reason(error: OperationFailure) -> str:
    """Return what MongoDB says, without the command that it may repeat."""
    if error.code == _UNAUTHORIZED:
        return (
            "who runs setup may not change them; to be dbOwner of this database is enough, unless one of them was "
            "given a role in another database: take that one back"
        )
    return str((error.details or {}).get("errmsg", error.code))


async def _make(databases: Databases, service: str, user: User) -> None:
    """Make a user and its role; again when another setup makes the role, or then the user, at the same moment."""
    database = databases[service]
    password = process.current().settings.mongodb_passwords[user.name]
    for is_last in (False, False, True):
        try:
            await _make_role(database, user)
            is_new = await _make_user(database, user, password)
        except OperationFailure as error:
            if is_last or error.code not in _THERE_ALREADY:
                raise
        else:
            break
    if not is_new and not await databases.takes(service, user.name, password):
        await database.command("updateUser", user.name, pwd=password, **_MAJORITY)
        _log.info("%s: user %s has another password now", database.name, user.name)


# What is wrong is mended by what grants and revokes: that needs rights in this database alone. To set all roles
# of a user, or all privileges of a role, needs the right to revoke in every database.


async def _make_role(database: AsyncDatabase[Document], user: User) -> None:
    asked = {"role": user.name, "db": database.name}
    found = (await database.command("rolesInfo", asked, showPrivileges=True))["roles"]
    if not found:
        await database.command("createRole", user.name, privileges=user.privileges, roles=[], **_MAJORITY)
        return
    (role,) = found
    superfluous, lacking = _without(role["privileges"], user.privileges), _without(user.privileges, role["privileges"])
    if superfluous:
        await database.command("revokePrivilegesFromRole", user.name, privileges=superfluous, **_MAJORITY)
    if lacking:
        await database.command("grantPrivilegesToRole", user.name, privileges=lacking, **_MAJORITY)
    if role["roles"]:
        await database.command("revokeRolesFromRole", user.name, roles=role["roles"], **_MAJORITY)
    if superfluous or lacking or role["roles"]:
        _log.info("%s: role %s was another one", database.name, user.name)


async def _make_user(database: AsyncDatabase[Document], user: User, password: str) -> bool:
    """Make a user, or give it back its one role; return whether it was made."""
    found = (await database.command("usersInfo", {"user": user.name, "db": database.name}))["users"]
    own = {"role": user.name, "db": database.name}
    if not found:
        await database.command("createUser", user.name, pwd=password, roles=[own], **_MAJORITY)
        return True
    roles = found[0]["roles"]
    if superfluous := [role for role in roles if role != own]:
        await database.command("revokeRolesFromUser", user.name, roles=superfluous, **_MAJORITY)
    if own not in roles:
        await database.command("grantRolesToUser", user.name, roles=[own], **_MAJORITY)
    if roles != [own]:
        _log.info("%s: user %s had other roles", database.name, user.name)
    return False


def _without(privileges: list[Document], others: list[Document]) -> list[Document]:
    """Return what of these privileges the others lack."""
    held = {_place(each): set(each["actions"]) for each in others}
    left = [
        {"resource": each["resource"], "actions": sorted(set(each["actions"]) - held.get(_place(each), set()))}
        for each in privileges
    ]
    return [each for each in left if each["actions"]]


def _place(privilege: Document) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(privilege["resource"].items()))


async def _say_if_nobody_asks(databases: Databases, service: str) -> None:
    """Warn when users were made where anybody may do anything."""
    status = await databases.client(service).admin.command("connectionStatus")
    if not status["authInfo"]["authenticatedUsers"]:
        _log.warning("%s: this MongoDB does not authenticate anybody; start it with --auth", databases[service].name)
