"""The demo shows what the README says it shows."""

import re
from pathlib import Path

import aiohttp
import pytest

from local.demo import Demo, Place
from local.stack import Stack
from shop import emission

README = Path(__file__).parent.parent.parent / "README.md"


def told(output: str) -> list[str]:
    """Return the story in lines, whatever the baskets' ids and the number behind the customer's name."""
    output = re.sub(r"\b[0-9a-f]{24}\b", "<id>", output)
    output = re.sub(r"Pavel( \d+)?\b", "Pavel", output)
    return [line.rstrip() for line in output.strip().splitlines()]


async def test_the_demo_ends_with_charged_once_and_the_readme_shows_it(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run against a real stack, it prints the README's block, whose numbers it has checked itself."""
    place = Place(stack.url, stack.sink_url("payments"), stack.kafka_bootstrap_servers)
    async with aiohttp.ClientSession() as http:
        await Demo(place, http).run()
    await emission.close()
    output = told(capsys.readouterr().out)
    assert output[-1].endswith("charged once")
    block = README.read_text().partition("$ make demo\n")[2].partition("\n\n`make`")[0]
    assert told("\n".join(line.removeprefix("    ") for line in block.splitlines())) == output


async def test_the_demo_fails_when_a_number_is_wrong(stack: Stack) -> None:
    """Its numbers are assertions: a second deposit on the way makes it fail."""
    place = Place(stack.url, stack.sink_url("payments"), stack.kafka_bootstrap_servers)
    async with aiohttp.ClientSession() as http:
        demo = Demo(place, http)
        customer = await demo._new_user()
        for path, fields in (("/CreateUser", {}), ("/DepositCash", {"sum": 1})):
            async with http.post(stack.url + path, json={"user": customer, **fields}) as response:
                assert response.status == 200
        demo._new_user = lambda: same(customer)  # a customer who has 1 already
        with pytest.raises(AssertionError, match="a balance of 90, not 91"):
            await demo.run()


async def same(customer: str) -> str:
    return customer
