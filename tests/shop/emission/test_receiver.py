"""An address that somebody gave us leads to the public internet and nowhere else, and costs a bounded time."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from shop.emission import receiver
from shop.process import process
from shop.process.process import Process
from shop.process.tls import trusted
from tests.support.sink import Sink, certificate, serving

PUBLIC = ("93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1")
PRIVATE = (
    *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *(
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.1",
    ),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1"),
    *("192.0.2.1", "198.18.0.1", "240.0.0.1", "2001:db8::1"),
)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address(address: str) -> None:
    """In any notation."""
    assert receiver.is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_nobody_outside(address: str) -> None:
    """Loopback, private, link-local with the metadata of a cloud, and IPv4 in the clothes of IPv6."""
    assert not receiver.is_public(address)


def looked_up(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Answer look-ups of names, one after the other; return the names that were asked for."""
    asked: list[str] = []
    left = list(answers)
    real = asyncio.get_running_loop().getaddrinfo

    async def getaddrinfo(host: str, port: int, **options: int) -> object:
        with suppress(OSError, ValueError):
            socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
            return await real(host, port, **options)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    return asked


async def test_a_name_is_looked_up_once_and_what_was_looked_at_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers for the name cannot say one thing to the check and another to the connection."""
    connected: list[str] = []

    async def create_connection(_: object, address: str, *__: object, **___: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    asked = looked_up(monkeypatch, ["8.8.8.8", "9.9.9.9"], ["127.0.0.1"])
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection, raising=False)
    with pytest.raises(receiver.NotTaken, match="ConnectionRefusedError"):
        await receiver.post("https://hooks.example/a", {}, b"", private=False)
    assert (asked, connected) == (["hooks.example"], ["8.8.8.8", "9.9.9.9"])


async def test_an_address_that_never_answers_leaves_time_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may have an address of a network that leads nowhere from here, and one that works."""
    connected: list[str] = []

    async def create_connection(_: object, address: str, *__: object, **___: object) -> None:
        connected.append(address)
        if address == "8.8.8.8":
            await asyncio.Event().wait()
        raise ConnectionRefusedError

    looked_up(monkeypatch, ["8.8.8.8", "9.9.9.9"])
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection, raising=False)
    impatient = Process(process.current().settings, patience=0.05)
    with process.running(impatient), pytest.raises(receiver.NotTaken, match="ConnectionRefusedError"):
        await receiver.post("https://hooks.example/a", {}, b"", private=False)
    assert connected == ["8.8.8.8", "9.9.9.9"]
    assert receiver.TURN_S * 3 < receiver.TIMEOUT_S


async def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever would have been taken."""
    looked_up(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(receiver.NotTaken, match=r"10\.0\.0\.1 is not public"):
        await receiver.post("https://hooks.example/a", {}, b"", private=False)


@asynccontextmanager
async def served(answer: bytes) -> AsyncIterator[str]:
    """Serve this answer, byte for byte, to whoever comes, and leave the connection open."""
    writers: list[asyncio.StreamWriter] = []

    async def answer_it(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(answer)

    server = await asyncio.start_server(answer_it, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for writer in writers:
            writer.close()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nthe rest never comes", 200),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Oops\r\n\r\n", 500),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9, "interim"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000, "LimitOverrun"),
        (b"HTTP/2 200\r\n\r\n", "no HTTP"),
    ],
)
async def test_of_an_answer_the_status_alone_is_read(answer: bytes, told: int | str) -> None:
    """However long the rest is, and whatever it is."""
    async with served(answer) as url:
        if isinstance(told, int):
            assert await receiver.post(url, {}, b"{}", private=True) == told
        else:
            with pytest.raises(receiver.NotTaken, match=told):
                await receiver.post(url, {}, b"{}", private=True)


async def test_the_certificate_is_held_to_the_name(tmp_path: Path) -> None:
    """Though the connection is made to an address; one that nobody trusts is refused."""
    certified = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certified[0]))
    async with Sink(tls=serving(certified)) as sink:
        url = sink.url.replace("127.0.0.1", "localhost")
        with process.running(Process(process.current().settings, {trusted: trusting})):
            assert await receiver.post(url, {"webhook-id": "a"}, b"{}", private=True) == 202
        assert sink.received[0].header("Host") == url.split("/")[2]
        with (
            process.running(Process(process.current().settings, {trusted: ssl.create_default_context()})),
            pytest.raises(receiver.NotTaken, match="certificate verify failed"),
        ):
            await receiver.post(url, {}, b"{}", private=True)
    assert len(sink.received) == 1
