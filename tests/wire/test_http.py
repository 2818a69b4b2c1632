"""HTTP as the real ones speak it: rules that the recordings show only by single cases."""

import asyncio

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
