"""shop.emission.sink speaks HTTP/1.1 with whatever listens at K_SINK, odd servers too, and keeps few connections."""

import asyncio
import math
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shop.emission import sink as sinks
from shop.emission.sink import Sink, send
from shop.errors import Unavailable
from shop.process import process
from shop.process.process import Process
from shop.process.settings import Settings
from shop.process.tls import trusted
from tests.support import sink as support
from tests.support.sink import Received

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
CLOSE = b""
"""In place of a piece: close the connection."""

HANG = math.inf
"""In place of a pause: until the client is gone."""

Answer = Sequence[bytes | float]
"""What is sent for one request, in pieces, and the seconds between them."""


@dataclass
class Odd:
    """Answers as it is told, byte by byte, and then 202; a connection is closed only where it says so."""

    answers: list[Answer] = field(default_factory=list)
    requests: int = 0
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes on one connection."""
        self.connections += 1
        self.writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(len(b"data"))
                self.requests += 1
                for piece in self.answers.pop(0) if self.answers else [OK]:
                    if piece == HANG:
                        await reader.read()
                    elif isinstance(piece, float):
                        await asyncio.sleep(piece)
                    elif piece == CLOSE:
                        return
                    else:
                        writer.write(piece)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()

    async def has_open(self, most: int) -> None:
        """Wait until no more connections are open."""
        async with asyncio.timeout(10):
            while sum(not writer.transport.is_closing() for writer in self.writers) > most:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)


@pytest.fixture
async def odd(configure: Callable[..., None]) -> AsyncIterator[Odd]:
    """Listen where K_SINK says."""
    listening = Odd()
    async with await asyncio.start_server(listening.serve, "127.0.0.1", 0) as server:
        configure(sink=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/shop/payments")
        yield listening
        await process.current().close()


async def emit() -> None:
    """Send one event."""
    await send({"ce-id": "1"}, b"data")


WHOLE: dict[str, Answer] = {
    "nothing but the head": [OK],
    "a body": [b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\ndone"],
    "a body that could not be": [b"HTTP/1.1 204 No Content\r\n\r\n"],
    "chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\ndone\r\n0\r\nA: b\r\n\r\n"],
    "no reason": [b"HTTP/1.1 202 \r\ncontent-length:0\r\n\r\n"],
    "100 before it": [b"HTTP/1.1 100 Continue\r\n\r\n", 0.01, OK],
    "103 and 100 with it": [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK],
    "byte by byte": [part for byte in OK for part in (bytes([byte]), 0.001)],
    "a large head": [OK[:-2] + b"A: " + b"b" * 60_000 + b"\r\n\r\n"],
    "HTTP/1.0, kept": [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"],
}
"""Answers after which a connection is used again."""


@pytest.mark.parametrize("answer", WHOLE)
async def test_a_connection_is_used_again_when_its_answer_is_whole(odd: Odd, answer: str) -> None:
    """However it is cut and worded."""
    odd.answers = [WHOLE[answer]] * 2
    for _ in range(3):
        await emit()
    assert (odd.requests, odd.connections) == (3, 1)


LAST: dict[str, Answer] = {
    "close is announced": [b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"],
    "HTTP/1.0": [b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
    "a body to the end of the connection": [b"HTTP/1.1 200 OK\r\n\r\ndone"],
    "a body that does not end": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndone", HANG],
    "chunks that do not end": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n", HANG],
    "a body that is cut": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndone", CLOSE],
    "a chunk that is none": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"],
    "one answer more": [OK + OK],
    "something more": [OK + b"what else?"],
    "one answer more, later": [OK, 0.02, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"],
    "a body of megabytes": [b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9_999_999],
}
"""Answers after which a connection cannot be used again; their heads are good."""


@pytest.mark.parametrize("answer", LAST)
async def test_the_head_decides_and_what_cannot_be_used_again_is_not(odd: Odd, answer: str) -> None:
    """At once, and the next event goes on another connection."""
    odd.answers = [LAST[answer]] * 2
    started = time.monotonic()
    for _ in range(3):
        await emit()
        await asyncio.sleep(0.05)
    assert time.monotonic() - started < sinks.TIMEOUT_S
    assert (odd.requests, odd.connections) == (3, 3)


WRONG: dict[str, Answer] = {
    "no HTTP": [b"220 mail.example.com ESMTP\r\n"],
    "HTTP/3.7": [b"HTTP/3.7 202 Accepted\r\nContent-Length: 0\r\n\r\n"],
    "no status": [b"HTTP/1.1 OK\r\n\r\n"],
    "two lengths": [b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n"],
    "a head that is cut": [OK[:20], CLOSE],
    "an interim answer alone": [b"HTTP/1.1 100 Continue\r\n\r\n", CLOSE],
    "a head that does not end": [OK[:-2], *[b"A: " + b"b" * 8_000 + b"\r\n"] * 10, HANG],
    "another protocol": [b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"],
    "101 without a protocol": [b"HTTP/1.1 101 Switching Protocols\r\n\r\n"],
    "the end of the connection": [CLOSE],
}
"""What is no answer."""


@pytest.mark.parametrize("first", [True, False], ids=["on a new connection", "on a kept one"])
@pytest.mark.parametrize("answer", WRONG)
async def test_what_is_no_answer_is_unknown_and_not_waited_for(odd: Odd, answer: str, first: bool) -> None:
    """The sink had the event, so nothing is tried again here; but for an end that may be that of an idle connection."""
    if not first:
        await emit()
    before, odd.answers = odd.requests, [WRONG[answer]] * 2
    started = time.monotonic()
    with pytest.raises(Unavailable) as failed:
        await emit()
    assert failed.value.code.retryable
    assert time.monotonic() - started < sinks.TIMEOUT_S
    assert odd.requests - before == (2 if answer == "the end of the connection" and not first else 1)
    odd.answers = []
    await emit()


async def test_an_answer_that_is_too_slow_is_given_up_whatever_has_come_of_it(odd: Odd) -> None:
    """A byte now and then does not put it off; the connection is closed."""
    odd.answers = [[part for byte in OK for part in (bytes([byte]), 0.2)]]
    started = time.monotonic()
    with pytest.raises(Unavailable, match="TimeoutError"):
        await emit()
    assert sinks.TIMEOUT_S <= time.monotonic() - started < sinks.TIMEOUT_S + 3
    await emit()
    assert (odd.requests, odd.connections) == (2, 2)


async def test_nobody_who_waits_is_given_the_answer_to_another(odd: Odd) -> None:
    """A call that was given up takes its connection with it."""
    odd.answers = [[0.1, b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n"]]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await emit()
    await emit()
    await asyncio.sleep(0.1)
    await emit()


async def test_a_second_try_is_on_a_connection_of_its_own(odd: Odd) -> None:
    """Others that idled as long were closed with the first, whether their end was seen or not."""
    odd.answers = [[0.05, OK]] * 8
    await asyncio.gather(*(emit() for _ in range(8)))
    assert odd.connections == 8
    odd.answers = [[CLOSE]]
    await emit()
    assert (odd.requests, odd.connections) == (10, 9)


async def test_few_connections_are_kept(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were needed at once; and none longer than a gateway may remember it."""
    odd.answers = [[0.2, OK]] * (sinks.MAX_KEPT + 20)
    await asyncio.gather(*(emit() for _ in range(sinks.MAX_KEPT + 20)))
    await odd.has_open(sinks.MAX_KEPT)
    kept = odd.connections
    await emit()
    assert odd.connections == kept
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + sinks.KEPT_S + 1)
    await emit()
    assert odd.connections == kept + 1
    await odd.has_open(1)


async def test_what_is_in_flight_while_it_is_closed_keeps_no_connection(odd: Odd) -> None:
    """Its answer is taken, and that was it."""
    odd.answers = [[0.05, OK]]
    sending = asyncio.create_task(emit())
    await asyncio.sleep(0.02)
    await process.current().close()
    await sending
    await odd.has_open(0)


# --- where it goes ---------------------------------------------------------------------------------------------------


async def asked(url: str, received: list[Received]) -> tuple[str, str | None]:
    """Return the request line and the Host that a sink sees, for an event sent to this URL."""
    with process.running(Process(Settings.read({"K_SINK": url}))) as running:
        await emit()
        await running.close()
    return received[-1].request_line, received[-1].header("Host")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a%2Fb;c=d/?e=f&g=%20#h", "/a%2Fb;c=d/?e=f&g=%20"),
        ("/платежи", "/%D0%BF%D0%BB%D0%B0%D1%82%D0%B5%D0%B6%D0%B8"),
    ],
)
async def test_the_path_of_k_sink_is_what_is_asked_for(path: str, target: str) -> None:
    """As a SinkBinding injects it."""
    async with support.Sink() as sink:
        url = sink.url.removesuffix("/shop/payments")
        assert await asked(url + path, sink.received) == (f"POST {target} HTTP/1.1", url.removeprefix("http://"))


async def test_the_host_of_k_sink_may_be_a_name_or_an_address(tmp_path: Path) -> None:
    """IPv6 in brackets; a user and a password become a header."""
    async with support.Sink(host="::1") as sink:
        assert (await asked(sink.url, sink.received))[1] == sink.url.split("/")[2]
    async with support.Sink() as sink:
        named = sink.url.replace("127.0.0.1", "localhost")
        assert (await asked(named, sink.received))[1] == named.split("/")[2]
        await asked(sink.url.replace("//", "//Pavel:a%40b@"), sink.received)
        assert sink.received[-1].header("Authorization") == f"Basic {b64encode(b'Pavel:a@b').decode()}"


@pytest.mark.parametrize(("url", "host"), [("http://sink/", "sink"), ("https://sink:443/", "sink:443")])
def test_a_usual_port_is_said_only_where_the_url_says_it(url: str, host: str) -> None:
    """Some gateways tell hosts apart by the whole of it."""
    with process.running(Process(Settings(sink=url))):
        assert f"\r\nHost: {host}\r\n" in Sink()._head


async def test_https_is_spoken_with_whom_is_trusted(tmp_path: Path) -> None:
    """The machine's authorities decide; a sink that they do not know gets nothing."""
    certified = support.certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certified[0]))
    async with support.Sink(tls=support.serving(certified)) as sink:
        with process.running(Process(Settings(sink=sink.url), {trusted: trusting})) as running:
            for _ in range(3):
                await emit()
            assert (len(sink.received), sink.connections) == (3, 1)
            await running.close()
        with (
            process.running(Process(Settings(sink=sink.url))),
            pytest.raises(Unavailable, match="certificate verify failed"),
        ):
            await emit()
        assert len(sink.received) == 3
