"""Each service's user may do what its functions do, and nothing else; `audit` reads.

On a mongod with authentication: setup runs as a user who owns the three databases, and no more.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from bson import Int64
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from local.ports import Ports
from local.servers.mongodb import Mongod
from shop.process import process
from shop.process.process import Process
from shop.process.settings import ArrayLimits, Settings
from shop.setup import NotSetUp, make_users, setup
from shop.state import COLLECTIONS, META, SERVICES, of
from tests.support.asgi import Answer, call
from tests.support.functions import FUNCTIONS
from tests.support.sink import Received, Sink
from tests.support.statements import SENT

ROOT = Path(__file__).parents[3]
PASSWORDS = {user: f"{user}'s p@ss/word: %41 é" for user in (*SERVICES, "audit")}
AUTHENTICATION_FAILED = 18
VARIABLES = {f"{user.upper()}_MONGODB_PASSWORD": password for user, password in PASSWORDS.items()}


class Guarded:
    """A mongod with authentication."""

    def __init__(self, server: Mongod) -> None:
        self._plain = server.uri
        with MongoClient[Any](server.uri) as client:  # the first user may be made by anybody on this machine
            client.admin.command({"createUser": "root", "pwd": "root", "roles": ["root"]})
        owns = [{"role": "dbOwner", "db": service} for service in SERVICES]
        writes = [{"role": role, "db": service} for service in SERVICES for role in ("readWrite", "dbAdmin")]
        with MongoClient[Any](self.uri("root", "root", "admin")) as root:
            root.admin.command({"createUser": "setup", "pwd": "setup", "roles": owns})
            root.admin.command({"createUser": "writer", "pwd": "writer", "roles": writes})

    def uri(self, user: str, password: str, database: str) -> str:
        """Return the URI of a user."""
        place = self._plain.removeprefix("mongodb://")
        return f"mongodb://{user}:{quote(password, safe='')}@{place}&authSource={database}"

    def user(self, name: str, service: str | None = None) -> str:
        """Return the URI of one of the users that setup makes."""
        return self.uri(name, PASSWORDS[name], service or name)

    @property
    def setup(self) -> str:
        """Return the URI of who runs setup."""
        return self.uri("setup", "setup", "admin")


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """Run one, with everything set up and every user made."""
    folder = tmp_path_factory.mktemp("guarded")
    key = folder / "key"
    key.write_text("onlyForThisTest")
    key.chmod(0o600)
    server = Mongod(folder / "data", Ports().free(), folder / "mongod.log", key_file=key)
    await server.start()
    guarded = Guarded(server)
    assert run(guarded).returncode == 0
    yield guarded
    await server.stop()


@pytest.fixture
def root(guarded: Guarded) -> Iterator[MongoClient[Any]]:
    """Return a client who may do anything; what the functions stored is gone."""
    with MongoClient[Any](guarded.uri("root", "root", "admin")) as client:
        for each in COLLECTIONS:
            client[each.service][each.name].delete_many({})
        yield client


def run(guarded: Guarded, *arguments: str, uri: str | None = None, **other: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m shop.setup --users` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "shop.setup", "--users", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "MONGODB_URI": uri or guarded.setup, **VARIABLES, **other},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stored_users(root: MongoClient[Any]) -> list[Any]:
    """Return users with their credentials, and roles, as MongoDB keeps them."""
    return [list(root.admin[name].find().sort("_id")) for name in ("system.users", "system.roles")]


def can_log_in(uri: str) -> bool:
    """Tell whether a user's password is the right one."""
    try:
        with MongoClient[Any](uri) as client:
            client.admin.command("ping")
    except OperationFailure as error:
        if error.code == AUTHENTICATION_FAILED:
            return False
        raise
    return True


# --- what functions do -----------------------------------------------------------------------------------------------


class Shop:
    """All functions in this process, each with the user of its service."""

    def __init__(self, guarded: Guarded, sink: Sink) -> None:
        self.sink = sink
        told = Settings(sink=sink.url, array_limits=ArrayLimits(1, 1))
        self._processes = {each: Process(replace(told, mongodb_uri=guarded.user(each))) for each in SERVICES}

    async def call(self, function: str, *arguments: Any, **request: Any) -> Answer:
        """Call a function; it must succeed."""
        with process.running(self._processes[FUNCTIONS[function].label.service]):
            answer = await call(function, *arguments, **request)
        assert answer.status == 200, answer.text
        return answer

    async def post(self, function: str, **fields: object) -> Answer:
        """POST a request."""
        headers = [("Idempotency-Key", str(fields.pop("key")))] if "key" in fields else []
        return await self.call(function, body=json.dumps(fields).encode(), headers=headers)

    async def get(self, function: str, **fields: str) -> Any:
        """GET an answer."""
        return (await self.call(function, "GET", query=urlencode(fields))).json

    async def order(self, sum_: int) -> Received:
        """Order the user's basket, and return the event; it is not delivered."""
        basket = await self.get("get_basket", user="Pavel")
        await self.post("create_order", user="Pavel", sum=sum_, basket=basket["basket"], attempt=basket["attempt"])
        return self.sink.received.pop()

    async def deliver(self, event: Received) -> None:
        """Deliver a request for payment, and its decision, each twice."""
        for _ in "ab":
            await self.call("billing_handler", headers=event.headers, body=event.body)
        decided = self.sink.received.pop()
        for consumer in ("order_handler", "notify_handler") * 2:
            await self.call(consumer, headers=decided.headers, body=decided.body)

    async def close(self) -> None:
        """Close what was opened."""
        for each in self._processes.values():
            await each.close()


@pytest.fixture
async def shop(guarded: Guarded, root: MongoClient[Any]) -> AsyncIterator[Shop]:
    """Return the functions, on databases that are empty."""
    async with Sink() as sink:
        shop = Shop(guarded, sink)
        yield shop
        await shop.close()


async def test_every_function_does_all_it_does_with_the_user_of_its_service(shop: Shop, root: MongoClient[Any]) -> None:
    """Charges, declines, archives, repeats, resends, lists."""
    SENT.clear()
    await shop.post("create_user", user="Pavel")
    await shop.post("deposit_cash", user="Pavel", sum=1)
    for key in ("a", "b", "c", "a"):
        await shop.post("deposit_cash", user="Pavel", sum=100, key=key)
    first = await shop.order(10)
    await shop.deliver(first)
    for _ in range(3):
        await shop.deliver(await shop.order(10))
    await shop.deliver(first)
    await shop.deliver(await shop.order(1_000))
    await shop.order(20)
    root.orders.baskets.update_one({"status": "ordered"}, {"$set": {"resend_at": datetime(2026, 1, 1, tzinfo=UTC)}})
    await shop.call("resend_orders", headers=[("ce-id", "tick")], body=b"{}")
    await shop.deliver(shop.sink.received.pop())
    assert (await shop.get("get_user", user="Pavel"))["balance"] == 301 - 40 - 20
    basket, _, _ = (first.header("ce-id") or "").partition(".")
    assert (await shop.get("get_order", user="Pavel", basket=basket))["outcome"] == "paid"
    assert len((await shop.get("list_notify", user="Pavel"))["notifications"]) == 6
    assert len((await shop.get("list_notify"))["notifications"]) == 6
    assert set(SENT) == set(FUNCTIONS)
    archives = {name: root.billing[name].count_documents({}) for name in ("paid_baskets", "deposits")}
    assert archives == {"paid_baskets": 5, "deposits": 4}


# --- what they may not do --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a user tries something: at its own database and a collection that it may write to, or at another's."""

    own: Database[Any]
    held: Collection[Any]
    meta: Collection[Any]
    admin: Database[Any]
    other: Collection[Any]


FORBIDDEN: dict[str, Callable[[Place], object]] = {
    "drop an index": lambda at: at.held.drop_indexes(),
    "make an index": lambda at: at.held.create_index("sum"),
    "change a validator": lambda at: at.own.command("collMod", at.held.name, validator={}),
    "get past a validator": lambda at: at.held.insert_one({}, bypass_document_validation=True),
    "drop a collection": lambda at: at.own.drop_collection(at.held.name),
    "make a collection": lambda at: at.own.create_collection("another"),
    "write to a new collection": lambda at: at.own["another"].insert_one({}),
    "rename a collection": lambda at: at.held.rename("another"),
    "drop the database": lambda at: at.own.client.drop_database(at.own.name),
    "remove documents": lambda at: at.held.delete_many({}),
    "remove one by an update": lambda at: at.held.find_one_and_delete({}),
    "replace all by $out": lambda at: list(at.held.aggregate([{"$out": at.held.name}])),
    "begin an epoch": lambda at: at.meta.update_one({"_id": "epoch"}, {"$set": {"epoch": Int64(9)}}),
    "make an epoch": lambda at: at.meta.insert_one({"_id": "epoch", "epoch": Int64(9)}),
    "read another database": lambda at: at.other.find_one({}),
    "write another database": lambda at: at.other.insert_one({}),
    "list another's indexes": lambda at: list(at.other.list_indexes()),
    "read the users": lambda at: at.admin["system.users"].find_one({}),
    "make a user": lambda at: at.own.command({"createUser": "x", "pwd": "x", "roles": []}),
    "get more roles": lambda at: at.own.command("grantRolesToUser", at.own.name, roles=["dbOwner"]),
    "give a role more": lambda at: at.own.command("updateRole", at.own.name, privileges=[]),
    "change its own password": lambda at: at.own.command({"updateUser": at.own.name, "pwd": "x"}),
    "make MongoDB fail": lambda at: at.admin.command("configureFailPoint", "failCommand", mode="off"),
    "stop the server": lambda at: at.admin.command("shutdown"),
    "see who is connected": lambda at: at.admin.command({"currentOp": 1}),
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_services_user_may_not(guarded: Guarded, root: MongoClient[Any], service: str, what: str) -> None:
    """MongoDB refuses it, and nothing is different."""
    other = SERVICES[SERVICES.index(service) - 1]
    before = stored_users(root), sorted(root[service].list_collection_names())
    with MongoClient[Any](guarded.user(service)) as client:
        own, held = client[service], of(service)[0].name
        at = Place(own, own[held], own[META], client.admin, client[other][of(other)[0].name])
        with pytest.raises(OperationFailure) as refused:
            FORBIDDEN[what](at)
    assert refused.value.code in {13, 59}, refused.value  # not authorized; a command that is not even there
    assert (stored_users(root), sorted(root[service].list_collection_names())) == before


@pytest.mark.parametrize("service", SERVICES)
def test_audit_reads_and_does_nothing_else(guarded: Guarded, root: MongoClient[Any], service: str) -> None:
    """Each database has an `audit` of its own."""
    with MongoClient[Any](guarded.user("audit", service)) as client:
        own = client[service]
        for collection in of(service):
            assert own[collection.name].find_one({}) is None
            for write in (
                lambda held: held.insert_one({}),
                lambda held: held.update_one({}, {"$set": {"sum": 1}}),
                lambda held: held.delete_one({}),
            ):
                with pytest.raises(OperationFailure, match="not authorized"):
                    write(own[collection.name])
        with pytest.raises(OperationFailure, match="not authorized"):
            client[SERVICES[SERVICES.index(service) - 1]][META].find_one({})


async def test_orders_verifies_as_audit(guarded: Guarded, shop: Shop) -> None:
    """It needs nothing else."""
    await shop.post("create_user", user="Pavel")
    await shop.post("deposit_cash", user="Pavel", sum=100, key="a")
    await shop.deliver(await shop.order(10))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "operate.cli", "verify", "--json"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            **{f"{each.upper()}_MONGODB_URI": guarded.user("audit", each) for each in SERVICES},
        },
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done


# --- setup -----------------------------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing(guarded: Guarded, root: MongoClient[Any]) -> None:
    """Not even the salt of a password."""
    before = stored_users(root)
    done = run(guarded)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-6:] == [
        *("orders has its user orders", "orders has its user audit", "billing has its user billing"),
        *("billing has its user audit", "notify has its user notify", "notify has its user audit"),
    ]
    assert stored_users(root) == before


def test_another_password_replaces_the_one_before(guarded: Guarded, root: MongoClient[Any]) -> None:
    """Of that user alone; neither is shown."""
    changed = run(guarded, "billing", BILLING_MONGODB_PASSWORD="the other one")  # noqa: S106
    assert "billing: user billing has another password now" in changed.stdout
    assert not can_log_in(guarded.user("billing"))
    assert can_log_in(guarded.uri("billing", "the other one", "billing"))
    assert can_log_in(guarded.user("orders"))
    again = run(guarded, "billing")
    assert can_log_in(guarded.user("billing"))
    said = "".join(done.stdout + done.stderr for done in (changed, again))
    assert not [password for password in (*PASSWORDS.values(), "the other one") if password in said]


def test_what_a_user_or_a_role_has_too_much_is_taken_back(guarded: Guarded, root: MongoClient[Any]) -> None:
    """And what it lacks is given."""
    before = stored_users(root)
    root.orders.command("grantRolesToUser", "orders", roles=[{"role": "readWrite", "db": "billing"}, "dbOwner"])
    root.orders.command("revokeRolesFromUser", "audit", roles=["audit"])
    everything = {"resource": {"db": "orders", "collection": ""}, "actions": ["remove", "dropCollection"]}
    root.orders.command("grantPrivilegesToRole", "orders", privileges=[everything])
    root.billing.command("grantRolesToRole", "billing", roles=["dbOwner"])
    root.notify.command("updateRole", "notify", privileges=[])
    assert stored_users(root) != before
    assert run(guarded).returncode == 0
    assert roles_and_users(root) == roles_and_users_of(before)
    root.orders.command("dropRole", "orders")
    assert run(guarded, "orders").returncode == 0
    assert roles_and_users(root) == roles_and_users_of(before)


def roles_and_users(root: MongoClient[Any]) -> Any:
    return roles_and_users_of(stored_users(root))


def roles_and_users_of(stored: list[Any]) -> Any:
    """Return what matters, in no order of actions."""
    users, roles = stored
    return (
        {each["_id"]: each["roles"] for each in users},
        {
            each["_id"]: (
                each["roles"],
                {one["resource"]["collection"]: set(one["actions"]) for one in each["privileges"]},
            )
            for each in roles
        },
    )


async def test_two_setups_may_run_at_once(guarded: Guarded, root: MongoClient[Any]) -> None:
    """Both end well, and each user is made once."""
    told = Settings(
        mongodb_uri=guarded.uri("root", "root", "admin"),
        mongodb_passwords=PASSWORDS,
        databases={service: f"{service}_2" for service in SERVICES},
    )
    with process.running(Process(told)):
        await setup()
        await asyncio.gather(*(make_users() for _ in range(4)))
    assert can_log_in(guarded.uri("orders", PASSWORDS["orders"], "orders_2"))
    for service in SERVICES:
        root[f"{service}_2"].command("dropAllUsersFromDatabase")
        root[f"{service}_2"].command("dropAllRolesFromDatabase")
        root.drop_database(f"{service}_2")


async def test_who_may_not_make_users_is_told_what_is_missing(guarded: Guarded) -> None:
    """With the role that has it."""
    told = Settings(mongodb_uri=guarded.uri("writer", "writer", "admin"), mongodb_passwords=PASSWORDS)
    with process.running(Process(told)), pytest.raises(NotSetUp) as error:
        await make_users(("orders",))
    assert "orders has not all of its users: who runs setup may not change them; to be dbOwner" in str(error.value)


def test_a_missing_password_is_named_and_nothing_is_done(guarded: Guarded) -> None:
    """Before MongoDB is asked; the services that are not named need none."""
    done = run(guarded, "orders", ORDERS_MONGODB_PASSWORD="", AUDIT_MONGODB_PASSWORD="", BILLING_MONGODB_PASSWORD="")
    assert done.returncode == 2
    assert "set ORDERS_MONGODB_PASSWORD, AUDIT_MONGODB_PASSWORD in the environment" in done.stderr
    assert done.stdout == ""


def test_a_password_with_a_line_break_is_refused_and_not_shown(guarded: Guarded) -> None:
    """As it comes from a file."""
    done = run(guarded, AUDIT_MONGODB_PASSWORD="s3cret\n")  # noqa: S106
    assert done.returncode == 1
    assert "AUDIT_MONGODB_PASSWORD must be printable" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.usefixtures("empty")
def test_a_mongodb_that_asks_nobody_is_warned_of(guarded: Guarded, empty_mongod: Mongod) -> None:
    """The users are there all the same: it may ask from tomorrow on."""
    done = run(guarded, "orders", uri=empty_mongod.uri)
    assert done.returncode == 0
    assert "orders: this MongoDB does not authenticate anybody; start it with --auth" in done.stdout


def test_settings_do_not_show_a_password() -> None:
    """Whoever prints them."""
    told = Settings.read(VARIABLES)
    assert told.mongodb_passwords == PASSWORDS
    assert "p@ss" not in repr(told)
