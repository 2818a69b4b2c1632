"""Requests of the older shop's clients (the seed's) keep working as they are: `seed_collection.json`, for Postman."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.functions.conftest import Client
from tests.support.asgi import Answer

COLLECTION = json.loads((Path(__file__).parent / "seed_collection.json").read_text(encoding="utf-8"))
REQUESTS = {item["name"]: item["request"] for item in COLLECTION["item"]}


async def send(client: Client, name: str, **fields: object) -> Answer:
    """Send a request of the collection, with other values for some of its fields."""
    request: dict[str, Any] = REQUESTS[name]
    body = request["body"]["raw"].encode()
    if fields:
        body = json.dumps({**json.loads(body), **fields}).encode()
    return await client.send(request["method"], "/" + "/".join(request["url"]["path"]), body, host="localhost")


def test_the_collection_is_on_port_80() -> None:
    """`make run PORT=80` serves it."""
    for request in REQUESTS.values():
        url = request["url"]
        assert url["raw"] == f"{url['protocol']}://{url['host'][0]}:{url['port']}/{url['path'][0]}"
        assert url["port"] == "80"


async def test_the_seed_s_walk_ends_with_one_charge(client: Client) -> None:
    """Several equal orders, then a basket that the balance cannot pay, then the lists."""
    assert (await send(client, "CreateUser")).message == "user created"
    assert (await send(client, "DepositCash")).message == "deposited"
    basket = (await send(client, "GetBasket")).message
    for _ in range(3):
        assert (await send(client, "Order", basket=basket)).status == 200
        await client.deliver()
    assert await client.balance() == 90

    too_dear = (await send(client, "GetBasket")).message
    assert too_dear != basket
    assert (await send(client, "Order", basket=too_dear, sum=1000)).message == "order accepted"
    await client.deliver()
    assert await client.balance() == 90

    everybody_s = await send(client, "List")
    assert everybody_s.json["log"] == ["user Pavel result true", "user Pavel result false"]
    assert (await send(client, "List of one user")).json == everybody_s.json


@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("CreateUser", {}, 200),  # the second time
        ("Order", {}, 404),  # a basket that nobody has: the seed said 200 and did nothing
        ("DepositCash", {"user": "Olga"}, 404),
    ],
)
async def test_answers_that_differ_from_the_seed_s_on_purpose(
    client: Client, name: str, fields: dict[str, object], status: int
) -> None:
    """README lists them with their reasons."""
    await send(client, "CreateUser")
    assert (await send(client, name, **fields)).status == status
