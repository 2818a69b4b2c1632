"""The demo shows what the README says it shows."""

import doctest
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from local.demo import Demo, Shop, new_user, shop_of
from local.folder import take, tell_addresses
from local.settings import SettingsError
from local.stack import Stack

README = Path(__file__).parent.parent.parent / "README.md"


def told(output: str) -> list[str]:
    """Return the story in lines, whatever the stack, the baskets' ids and the number behind the customer's name."""
    output = re.sub(r"the stack in .*", "the stack", output)
    output = re.sub(r"\b[0-9a-f]{24}\b", "<id>", output)
    output = re.sub(r"Pavel( \d+)?\b", "Pavel", output)
    return [line.rstrip() for line in output.strip().splitlines()]


async def test_the_demo_ends_with_charged_once_and_the_readme_shows_it(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run against a real stack, it prints the README's block, whose numbers it has checked itself.

    What the README leaves out, it leaves out by `...`.
    """
    async with aiohttp.ClientSession() as http, shop_of(stack.folder, http) as shop:
        await Demo(shop, http, await new_user(shop.url, http)).run()
    output = told(capsys.readouterr().out)
    assert output[-1].endswith("charged once")
    block = README.read_text().partition("$ make demo\n")[2].partition("\n\nRun `make`")[0]
    shown = told("\n".join(line.removeprefix("    ") for line in block.splitlines()))
    assert doctest.OutputChecker().check_output("\n".join(shown), "\n".join(output), doctest.ELLIPSIS), output


async def test_the_demo_fails_when_a_number_is_wrong(stack: Stack) -> None:
    """Its numbers are assertions: a second deposit on the way makes it fail."""
    async with aiohttp.ClientSession() as http:
        customer = await new_user(stack.url, http)
        for path, fields in (("/CreateUser", {}), ("/DepositCash", {"sum": 1})):
            async with http.post(stack.url + path, json={"user": customer, **fields}) as response:
                assert response.status == 200
        with pytest.raises(AssertionError, match="a balance of 90, not 91"):
            await Demo(reached(stack), http, customer).run()  # a customer who has 1 already


def reached(stack: Stack) -> Shop:
    """Return where the shop of a stack is reached."""
    return Shop(stack.url, stack.sink_url("payments"), stack.kafka_bootstrap_servers)


async def test_the_demo_orders_from_the_stack_of_its_folder(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever that listens, and it says so."""
    async with aiohttp.ClientSession() as http, shop_of(stack.folder, http) as shop:
        assert shop == reached(stack)
    assert f"Using the stack in {stack.folder}, at {stack.url}" in capsys.readouterr().out


async def test_the_demo_leaves_a_stack_of_another_folder_alone(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that listens on our ports may be another clone's, with customers of its own."""
    started = Shop("http://own", "http://own/payments", "own:9092")

    @asynccontextmanager
    async def own() -> AsyncIterator[Shop]:
        yield started

    async with aiohttp.ClientSession() as http, shop_of(tmp_path, http, own=own) as shop:
        assert shop == started
    assert f"No stack runs in {tmp_path}: starting one" in capsys.readouterr().out


async def test_a_stack_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """It is neither gone round nor waited for without end."""
    with take(tmp_path):
        tell_addresses(tmp_path, {"url": "http://127.0.0.1:1"})
        async with aiohttp.ClientSession() as http:
            with pytest.raises(SettingsError, match=r"http://127\.0\.0\.1:1 does not answer"):
                async with shop_of(tmp_path, http, timeout_s=0.3):
                    pytest.fail("it was found")
