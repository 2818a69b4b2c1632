"""The databases are read as they are for good: what a majority holds, from the primary, whatever the URI says."""

from datetime import UTC, datetime

import pytest
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern

from local.servers.mongodb import Mongod
from operate.databases import Databases
from operate.places import find
from operate.running import RunningShop


def opened(**environment: str) -> Databases:
    """Open the databases that an environment names."""
    return RunningShop(find(environment)).databases()


@pytest.mark.parametrize("service", ["orders", "billing", "notify"])
def test_no_uri_weakens_a_read(service: str) -> None:
    """What rolls back, or is stale, would be told as known."""
    with opened(MONGODB_URI="mongodb://127.0.0.1:1/?readConcernLevel=local&readPreference=secondary") as databases:
        collection = databases.collection(service, "users")
        assert collection.read_concern == ReadConcern("majority")
        assert collection.read_preference == ReadPreference.PRIMARY
        assert collection.database.name == service


def test_each_service_may_have_its_own_mongodb_and_name() -> None:
    """And they are not mixed up."""
    billing = {"BILLING_MONGODB_URI": "mongodb://127.0.0.1:2", "BILLING_DATABASE": "money"}
    with opened(MONGODB_URI="mongodb://127.0.0.1:1", **billing) as databases:
        found = {service: databases.collection(service, "x").database for service in ("orders", "billing", "notify")}
        assert {service: database.name for service, database in found.items()} == {
            "orders": "orders",
            "billing": "money",
            "notify": "notify",
        }
        assert found["orders"].client is found["notify"].client is not found["billing"].client


async def test_the_time_is_the_one_of_the_database(shop: None, mongod: Mongod) -> None:
    """Resend goes by it; with its zone, so that it can be compared with what is stored."""
    with opened(MONGODB_URI=mongod.uri) as databases:
        assert abs((databases.now() - datetime.now(UTC)).total_seconds()) < 60
