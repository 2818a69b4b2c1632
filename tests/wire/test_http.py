"""HTTP as the real ones speak it: rules that the recordings show only by single cases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from wire import http as http1


def test_header_values_are_latin_1_with_a_mark_for_every_other_utf_16_unit() -> None:
    """Characters above U+FFFF are two units."""
    assert http1.encode_value(" é П 🙂\t") == b"\xe9 ? ??"


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\x00", "\x1f", "\x7f"])
def test_control_characters_are_not_sent(value: str) -> None:
    """A tab is; no other control character of ASCII."""
    assert http1.encode_value("a\tb") == b"a\tb"
    with pytest.raises(ValueError, match="control character"):
        http1.encode_value(value)


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [(4096, [8192], None), (4097, [10], 414), (10, [8193], 431), (10, [4096, 4096], None), (10, [4096, 4097], 431)],
)
async def test_limits_count_lines_without_their_ends(line: int, headers: list[int], status: int | None) -> None:
    """4 KiB for the first line, 8 KiB for all headers together."""
    reader = asyncio.StreamReader()
    reader.feed_data(
        b"G" * line + b"\r\n" + b"".join(b"x:" + b"v" * (size - 2) + b"\r\n" for size in headers) + b"\r\n"
    )
    if status is None:
        assert await http1.read_head(reader) is not None
    else:
        with pytest.raises(http1.MalformedError) as refused:
            await http1.read_head(reader)
        assert refused.value.status == status


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/1.1\r\na b: c\r\n\r\n"])
async def test_malformed_headers_are_refused(head: bytes) -> None:
    """Names are tokens, and are followed by a colon."""
    reader = asyncio.StreamReader()
    reader.feed_data(head)
    with pytest.raises(http1.MalformedError):
        await http1.read_head(reader)


@pytest.mark.parametrize("body", [b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"5\r\nabcde\r\n0\r\ntrailer: x\r\n\r\n"])
async def test_chunks_are_joined(body: bytes) -> None:
    """Extensions and trailers are read over."""
    reader = asyncio.StreamReader()
    reader.feed_data(body + b"next")
    assert await http1.read_body(reader, [("transfer-encoding", "chunked")]) == b"abcde"
    assert await reader.readexactly(4) == b"next"


@pytest.mark.parametrize("size", [b"zz", b"-1", b"", b"ffffffffff"])
async def test_a_chunk_of_no_size_is_refused(size: bytes) -> None:
    """Neither a wrong size nor one without bound is read."""
    reader = asyncio.StreamReader()
    reader.feed_data(size + b"\r\n")
    with pytest.raises(http1.MalformedError):
        await http1.read_body(reader, [("transfer-encoding", "chunked")])


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Kind:  a \r\n\r\nabc"

_ANSWERS = [
    _OK,
    b"HTTP/1.1 202 \r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 422 Unprocessable\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.1 100 Continue\r\n\r\n" + _OK,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 13\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nno header\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc",
    b"SMTP\r\ncontent-length: 3\r\n\r\nabc",
]


@asynccontextmanager
async def _server(answer: bytes, piece: int) -> AsyncIterator[tuple[str, list[int]]]:
    """Answer each request so, in pieces of so many bytes; give where, and the number of each one's connection."""
    served: list[int] = []
    connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        number = connections
        while head := await http1.read_head(reader):
            await http1.read_body(reader, head[1])
            served.append(number)
            for at in range(0, len(answer), piece):
                writer.write(answer[at : at + piece])
                await asyncio.sleep(0.001 if piece < len(answer) else 0)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/", served
    finally:
        server.close()


async def _asked(answer: bytes, piece: int) -> tuple[list[object], list[int]]:
    """Return what three requests are answered, and over which connections."""
    got: list[object] = []
    async with _server(answer, piece) as (url, served):
        client = http1.Client(url, timeout_s=5)
        for _ in range(3):
            try:
                got.append(await client.post([], b"x"))
            except http1.NoResponseError as error:
                got.append(str(error))
        client.close()
    return got, served


@pytest.mark.parametrize("answer", _ANSWERS)
async def test_an_answer_means_the_same_in_one_piece_and_in_many(answer: bytes) -> None:
    """Status, headers, body, and whether the connection is used again."""
    assert await _asked(answer, len(answer)) == await _asked(answer, len(answer) - 1) == await _asked(answer, 7)


async def test_an_answer_in_one_piece_is_read_as_it_is() -> None:
    """Three of them come over one connection."""
    got, served = await _asked(_OK, len(_OK))
    assert got == [http1.Response(200, [("content-length", "3"), ("x-kind", "a")], b"abc")] * 3
    assert served == [1, 1, 1]


async def test_what_comes_after_an_answer_is_not_lost() -> None:
    """The next request on this connection is answered with it: HTTP knows no order but that of the wire."""
    (first, second, _), served = await _asked(_OK + _OK.replace(b"200", b"201"), 1000)
    assert [getattr(each, "status", each) for each in (first, second)] == [200, 201]
    assert served == [1, 1, 1]


async def test_a_server_that_says_nothing_is_left_when_the_time_is_up() -> None:
    """No byte comes for so long."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        client = http1.Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", timeout_s=0.05)
        with pytest.raises(http1.NoResponseError, match="TimeoutError"):
            await client.post([], b"x")
