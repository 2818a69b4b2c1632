"""The whole stack with AUTH_*: customers order with tokens of an issuer on this machine, and nobody else does."""

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from examples.client import Refused, Shop
from local.settings import Settings
from local.stack import Stack
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, forged, token
from tests.support.stack_fixtures import free


@pytest.fixture(scope="module")
async def demanding(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, Issuer]]:
    """Run a stack that trusts an issuer on this machine."""
    async with Issuer() as issuer:
        given = {"AUTH_JWKS_URL": issuer.auth.jwks_url, "AUTH_ISSUER": ISSUER, "AUTH_AUDIENCE": AUDIENCE}
        auth = Settings.from_environment(given).auth
        settings = dataclasses.replace(free(tmp_path_factory.mktemp("tokens")), auth=auth)
        async with Stack(settings) as stack:
            yield stack, issuer


async def call(stack: Stack, path: str, sent: str | None, **fields: object) -> tuple[int, Any]:
    """Call the shop through its ingress, and return status and answer."""
    method = "GET" if path.startswith(("/Get", "/List")) else "POST"
    headers = {} if sent is None else {"Authorization": f"Bearer {sent}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, stack.url + path, json=fields) as response,
    ):
        return response.status, await response.json()


@pytest.mark.long  # a stack of its own: the whole table is in tests/functions/test_tokens.py, on functions alone
async def test_who_has_a_good_token_orders_and_nobody_else_does(
    demanding: tuple[Stack, Issuer], tmp_path: Path
) -> None:
    """The example client, with a customer's token, on what an admin deposited; events go their way without any."""
    stack, issuer = demanding
    admin, pavel = token("Root", roles=["admin"]), token("Pavel")
    refused = {
        "none": (None, 401, "token_missing"),
        "expired": (token(exp=int(time.time()) - 60), 401, "token_expired"),
        "of another audience": (token(aud="other"), 401, "token_invalid"),
        "of another issuer": (token(iss="https://other.example"), 401, "token_invalid"),
        "alg: none": (forged({"alg": "none", "kid": "rsa"}, {"sub": "Pavel"}), 401, "token_invalid"),
        "of an unknown key": (token(key="rsa-unknown"), 401, "token_invalid"),
        "of another user": (token("Anna"), 403, "other_user"),
    }
    for sent, status, code in refused.values():
        answered = await call(stack, "/GetUser", sent, user="Pavel")
        assert (answered[0], answered[1]["code"]) == (status, code)
    for path, fields in {"/CreateUser": {}, "/DepositCash": {"sum": 100}}.items():
        assert (await call(stack, path, pavel, user="Pavel", **fields))[0] == 403
        assert (await call(stack, path, admin, user="Pavel", **fields))[0] == 200
    assert (await call(stack, "/List", pavel))[0] == 403

    shop = Shop(stack.url, str(tmp_path / "kept"), token=pavel)
    paid = await asyncio.to_thread(shop.order, "book", "Pavel", 10)
    assert paid["message"] == "paid"
    assert (await call(stack, "/GetUser", pavel, user="Pavel"))[1]["balance"] == 90
    stranger = Shop(stack.url, str(tmp_path / "other"))
    with pytest.raises(Refused, match="401 send the header Authorization"):
        await asyncio.to_thread(stranger.order, "book", "Pavel", 10)
    assert issuer.asked <= len(stack.manifests.services)


async def test_a_function_says_at_its_start_that_it_demands_none(stack: Stack) -> None:
    """The usual stack, which is open; once a start, and other tests may have killed it."""
    lines = stack.log_file("deposit-cash").read_text().splitlines()
    said, *_ = [json.loads(line) for line in lines if "no token is demanded" in line]
    assert said["message"].startswith("no token is demanded: whoever reaches this function acts for any user")
