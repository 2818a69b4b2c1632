"""The example client deposits once and orders once, wherever its connections are cut and whenever it is killed."""

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from examples.client import Refused, Shop, Unknown, main
from local.stack import Stack
from tests.support.processes import ROOT

REQUEST_LIMIT = 64 * 1024
"""What one read takes: a request of the client, whole."""


class Cutter:
    """A TCP proxy before the ingress that cuts connections, each as it is told: by the first line of the request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = ""
        self.cuts: list[tuple[str, str]] = []
        """What to do next with a request that begins so: cut it `before`, `after` or `amid` the answer. Once each."""

        self.answered: Callable[[str], None] = lambda _: None
        """Told the first line of a request when its answer is here, and before it is passed on."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, and its answer back; the client opens a connection for each."""
        with contextlib.closing(writer):
            request = await reader.read(REQUEST_LIMIT)
            while b"\r\n\r\n" not in request or len(request) < _length(request):
                request += await reader.read(REQUEST_LIMIT)
            line = request.split(b"\r\n", 1)[0].decode()
            how = next((how for start, how in self.cuts if line.startswith(start)), "")
            if how:
                self.cuts.remove(next(cut for cut in self.cuts if line.startswith(cut[0])))
            if how == "before":
                return
            upstream, there = await asyncio.open_connection("127.0.0.1", self._port)
            with contextlib.closing(there):
                there.write(request)
                answer = await upstream.read(-1)
            self.answered(line)
            if how != "after":
                writer.write(answer[: len(answer) - 20] if how == "amid" else answer)
                await writer.drain()


def _length(request: bytes) -> int:
    """Return how long a request is, with its body."""
    head, _, _ = request.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return len(head) + 4 + sum(lengths)


@pytest.fixture
async def cutter(stack: Stack) -> AsyncIterator[Cutter]:
    """Serve a proxy on a free port of loopback."""
    cutter = Cutter(int(stack.url.rpartition(":")[2]))
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    cutter.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield cutter


@pytest.fixture
async def user(stack: Stack) -> str:
    """Make a user with an account."""
    user = f"Pavel {uuid.uuid4()}"
    async with aiohttp.ClientSession() as http, http.post(f"{stack.url}/CreateUser", json={"user": user}) as response:
        assert response.status == 200
    return user


async def account(stack: Stack, user: str) -> tuple[int, int, int]:
    """Return the user's balance, and how many deposits and charges there were."""
    async with aiohttp.ClientSession() as http, http.get(f"{stack.url}/GetUser", params={"user": user}) as response:
        said = await response.json()
    return said["balance"], len(said["deposits"]), len(said["paid_baskets"])


@pytest.mark.parametrize("how", ["before", "after", "amid"])
async def test_what_is_cut_off_is_sent_again_and_counts_once(
    stack: Stack, cutter: Cutter, user: str, tmp_path: Path, how: str
) -> None:
    """Before the request arrives, after it was done, or in the midst of the answer: twice each, at every step."""
    paths = ("POST /DepositCash", "GET /GetBasket", "POST /Order", "GET /GetOrder")
    cutter.cuts = [(path, how) for path in paths for _ in range(2)]
    shop = Shop(cutter.url, str(tmp_path / "kept"))
    await asyncio.to_thread(shop.deposit, "salary", user, 100)
    paid = await asyncio.to_thread(shop.order, "book", user, 10)
    assert paid["message"] == "paid"
    assert cutter.cuts == []
    assert await account(stack, user) == (90, 1, 1)


@pytest.mark.parametrize("line", ["POST /DepositCash", "POST /Order"])
async def test_a_client_that_is_killed_continues_with_the_same_key(
    stack: Stack, cutter: Cutter, user: str, tmp_path: Path, line: str
) -> None:
    """It is killed when its request has been done and before it hears of that; the same lines are run again."""
    environment = {**os.environ, "SHOP_URL": cutter.url, "SHOP_KEPT": str(tmp_path / "kept")}
    running: list[asyncio.subprocess.Process] = []
    killed: list[str] = []

    def kill(answered: str) -> None:
        if answered.startswith(line) and not killed:
            killed.append(answered)
            running[-1].kill()

    async def run(*arguments: str) -> int | None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "examples/client.py", *arguments), cwd=ROOT, env=environment
        )
        running.append(process)
        return await process.wait()

    cutter.answered = kill
    statuses = [
        await run(*arguments)
        for arguments in (("deposit", "salary", user, "100"), ("order", "book", user, "10"))
        for _ in range(2)
    ]
    assert len(killed) == 1
    assert sorted(status for status in statuses if status is not None) == [-9, 0, 0, 0]
    assert await account(stack, user) == (90, 1, 1)


async def test_a_declined_order_is_answered_so_and_a_name_stays_with_its_order(
    stack: Stack, user: str, tmp_path: Path
) -> None:
    """A decline is final under its name, also after a deposit; another name is another order."""
    shop = Shop(stack.url, str(tmp_path / "kept"))
    declined = await asyncio.to_thread(shop.order, "book", user, 10)
    await asyncio.to_thread(shop.deposit, "salary", user, 100)
    again = await asyncio.to_thread(shop.order, "book", user, 10)
    assert again == declined
    assert await account(stack, user) == (100, 1, 0)
    await asyncio.to_thread(shop.order, "book, again", user, 10)
    assert await account(stack, user) == (90, 1, 1)
    with pytest.raises(ValueError, match="choose another one"):
        await asyncio.to_thread(shop.order, "book", user, 11)


async def test_what_the_shop_refuses_is_not_sent_again(stack: Stack, tmp_path: Path) -> None:
    """It says why; the account that is missing does not come by waiting."""
    shop = Shop(stack.url, str(tmp_path / "kept"))
    with pytest.raises(Refused, match="404 there is no such user"):
        await asyncio.to_thread(shop.deposit, "salary", f"Nobody {uuid.uuid4()}", 100)


def test_a_command_line_that_is_none_is_answered_with_how_to_call_it() -> None:
    """Also a verb or a sum that there is not."""
    for words in ([], ["pay", "book", "Pavel", "10"], ["order", "book", "Pavel", "ten"]):
        with pytest.raises(SystemExit, match=r"python examples/client\.py order book-17"):
            main(words)


@pytest.fixture
async def ingress() -> AsyncIterator[str]:
    """Serve what an ingress says while no function is behind it: HTML, and no code."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(REQUEST_LIMIT)
        page = b"<html>503 Service Temporarily Unavailable</html>"
        head = f"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"
        writer.write(head.encode() + page)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_what_an_ingress_says_by_itself_is_no_refusal(ingress: str, tmp_path: Path) -> None:
    """A 404 in HTML means that no function was asked: it is sent again until the client's patience ends."""
    shop = Shop(ingress, str(tmp_path / "kept"), patience_s=1)
    with pytest.raises(Unknown, match="this was not a function"):
        await asyncio.to_thread(shop.deposit, "salary", "Pavel", 100)
