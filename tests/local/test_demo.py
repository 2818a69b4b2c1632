"""The demo shows what the README says it shows."""

import doctest
import re
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import pytest

from local.demo import Demo, Place, place
from local.folder import take, tell_addresses
from local.settings import Settings, SettingsError
from local.stack import Stack
from shop.emission import sink

README = Path(__file__).parent.parent.parent / "README.md"


def told(output: str) -> list[str]:
    """Return the story in lines, whatever the stack, the baskets' ids and the number behind the customer's name."""
    output = re.sub(r"the stack in .*", "the stack", output)
    output = re.sub(r"\b[0-9a-f]{24}\b", "<id>", output)
    output = re.sub(r"Pavel( \d+)?\b", "Pavel", output)
    return [line.rstrip() for line in output.strip().splitlines()]


async def test_the_demo_ends_with_charged_once_and_the_readme_shows_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run against a real stack, it prints the README's block, whose numbers it has checked itself.

    What the README leaves out, it leaves out by `...`.
    """
    monkeypatch.setenv("LOCAL_DIR", str(stack.folder))
    async with aiohttp.ClientSession() as http, place(http) as found:
        await Demo(found, http).run()
    await sink.close()
    output = told(capsys.readouterr().out)
    assert output[-1].endswith("charged once")
    block = README.read_text().partition("$ make demo\n")[2].partition("\n\nRun `make`")[0]
    shown = told("\n".join(line.removeprefix("    ") for line in block.splitlines()))
    assert doctest.OutputChecker().check_output("\n".join(shown), "\n".join(output), doctest.ELLIPSIS), output


async def test_the_demo_fails_when_a_number_is_wrong(stack: Stack) -> None:
    """Its numbers are assertions: a second deposit on the way makes it fail."""
    found = Place(stack.url, stack.sink_url("payments"), stack.kafka_bootstrap_servers)
    async with aiohttp.ClientSession() as http:
        demo = Demo(found, http)
        customer = await demo._new_user()
        for path, fields in (("/CreateUser", {}), ("/DepositCash", {"sum": 1})):
            async with http.post(stack.url + path, json={"user": customer, **fields}) as response:
                assert response.status == 200
        demo._new_user = lambda: same(customer)  # a customer who has 1 already
        with pytest.raises(AssertionError, match="a balance of 90, not 91"):
            await demo.run()


class OwnStack:
    """Stands for the stack that the demo starts when there is none."""

    url = "http://own"
    kafka_bootstrap_servers = "own:9092"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def sink_url(self, name: str) -> str:
        """Return what nobody calls."""
        return f"http://own/{name}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def test_the_demo_orders_from_the_stack_of_its_folder(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever that listens, and it says so."""
    monkeypatch.setenv("LOCAL_DIR", str(stack.folder))
    monkeypatch.setenv("PORT", "1")
    async with aiohttp.ClientSession() as http, place(http) as found:
        assert found == Place(stack.url, stack.sink_url("payments"), stack.kafka_bootstrap_servers)
    assert f"Using the stack in {stack.folder}, at {stack.url}" in capsys.readouterr().out


async def test_the_demo_leaves_a_stack_of_another_folder_alone(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that listens on our ports may be another clone's, with customers of its own."""
    for name, url in (("PORT", stack.url), ("SINK_PORT", stack.sink_url("payments"))):
        monkeypatch.setenv(name, str(urlsplit(url).port))
    monkeypatch.setenv("KAFKA_PORT", stack.kafka_bootstrap_servers.rpartition(":")[2])
    monkeypatch.setenv("LOCAL_DIR", str(tmp_path))
    monkeypatch.setattr("local.demo.Stack", OwnStack)
    async with aiohttp.ClientSession() as http, place(http) as found:
        assert found.url == "http://own"
    assert f"No stack runs in {tmp_path}: starting one" in capsys.readouterr().out


async def test_a_stack_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither gone round nor waited for without end."""
    monkeypatch.setattr("local.demo._STARTED_WITHIN_S", 0.3)
    monkeypatch.setenv("LOCAL_DIR", str(tmp_path))
    with take(tmp_path):
        tell_addresses(tmp_path, {"url": "http://127.0.0.1:1"})
        async with aiohttp.ClientSession() as http:
            with pytest.raises(SettingsError, match=r"http://127\.0\.0\.1:1 does not answer"):
                async with place(http):
                    pytest.fail("it was found")


async def same(customer: str) -> str:
    return customer
