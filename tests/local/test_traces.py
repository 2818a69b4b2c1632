"""`make run TRACES=1` shows an order as one tree: the whole stack, with a real Zipkin."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from local.folder import remove
from local.servers import zipkin
from local.stack import Stack
from tests.support.stack_fixtures import free


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_an_order_is_one_tree_over_four_functions_in_zipkin(tmp_path: Path) -> None:
    """Read back through Zipkin's own API: each span but one has a parent among them."""
    await asyncio.to_thread(zipkin.installed)
    async with (
        Stack(replace(free(tmp_path), traces=True, zipkin_port=0)) as stack,
        aiohttp.ClientSession() as customer,
    ):

        async def post(path: str, **fields: object) -> tuple[str, dict[str, Any]]:
            async with customer.post(stack.url + path, json=fields) as answer:
                assert answer.status == 200
                return answer.headers["traceparent"].split("-")[1], await answer.json()

        await post("/CreateUser", user="Павел")
        await post("/DepositCash", user="Павел", sum=100)
        async with customer.get(f"{stack.url}/GetBasket", params={"user": "Павел"}) as answer:
            basket = (await answer.json())["basket"]
        trace, ordered = await post("/Order?wait=20", user="Павел", sum=10, basket=basket, attempt=1)
        assert ordered["outcome"] == "paid"
        services = {"create-order", "billing-handler", "order-handler", "notify-handler"}
        spans = await _spans(customer, f"{stack.zipkin_url}/api/v2/trace/{trace}", services)
    ids = {span["id"] for span in spans}
    (root,) = (span for span in spans if "parentId" not in span)
    assert root["localEndpoint"]["serviceName"] == "create-order"
    assert all(span["parentId"] in ids for span in spans if span is not root)
    assert {span["localEndpoint"]["serviceName"] for span in spans} == services
    assert {span["tags"]["shop.basket"] for span in spans if "shop.basket" in span["tags"]} == {basket}
    assert remove(stack.folder), "`make clean` refuses no folder of such a stack"


async def _spans(customer: aiohttp.ClientSession, url: str, services: set[str]) -> list[dict[str, Any]]:
    """Wait until Zipkin has the spans of all these services, the request's own among them."""
    async with asyncio.timeout(60):
        while True:
            async with customer.get(url) as answer:
                spans = await answer.json() if answer.status == 200 else []
            kinds = {(span["localEndpoint"]["serviceName"], span.get("kind")) for span in spans}
            if kinds >= {(each, "SERVER" if each == "create-order" else "CONSUMER") for each in services}:
                return list(spans)
            await asyncio.sleep(0.1)
