"""CloudEvents and HTTP in the stand-ins: rules that the recordings show only by single cases."""

import asyncio

import pytest

from wire import event as cloudevents
from wire import http as http1
from wire.event import Event, NotAnEventError

EVENT = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/s"), ("ce_type", "t")]
TRACE = "0af7651916cd43dd8448eb211c80319c"


def parse(name: str, value: str) -> Event:
    """Read a record that has this header."""
    return cloudevents.parse([*EVENT, (name, value)], b"{}", "ce_")


@pytest.mark.parametrize(
    "uri",
    ["", "a", "/a?b=c#d", "//host/a", "http://h:1/", "http://[::1]/", "urn:a:b", "mailto:a@b", "/й", "a%20b", "?q"],
)
def test_what_java_takes_for_a_uri_is_a_source(uri: str) -> None:
    """References are URIs too, and characters beyond ASCII may stand for themselves."""
    assert parse("ce_source", uri).attributes["source"] == uri


@pytest.mark.parametrize(
    "uri", ["a b", "::", ":a", "http:", "a%2", "a\\b", "<a>", "a#b#c", "1a:b", "//", "\u00a0", "a|b"]
)
def test_what_java_takes_for_no_uri_is_no_source(uri: str) -> None:
    """An event with such a source is not an event."""
    with pytest.raises(NotAnEventError):
        parse("ce_source", uri)


@pytest.mark.parametrize(
    ("time", "normal"),
    [
        ("2026-11-22T10:00Z", "2026-11-22T10:00:00Z"),
        ("2026-11-22t10:00:00.500z", "2026-11-22T10:00:00.5Z"),
        ("2026-11-22T10:00:00.123456789+02:00", "2026-11-22T10:00:00.123456789+02:00"),
        ("2026-11-22T10:00:00-00:00", "2026-11-22T10:00:00Z"),
    ],
)
def test_times_are_written_anew(time: str, normal: str) -> None:
    """Capitals, seconds always, no zeros at the end of a fraction."""
    assert parse("ce_time", time).attributes["time"] == normal


@pytest.mark.parametrize(
    "time",
    ["", "2026-11-22", "2026-11-22T10:00:00", "2026-02-30T10:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22 10:00Z"],
)
def test_what_is_no_time_makes_no_event(time: str) -> None:
    """A time must exist, and have a zone."""
    with pytest.raises(NotAnEventError):
        parse("ce_time", time)


@pytest.mark.parametrize(
    ("parent", "flags"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", "01"),
        (f"00-{TRACE}-b7ad6b7169203331-00", "00"),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"ff-{TRACE}-b7ad6b7169203331-01", None),
        ("00-xyz", None),
    ],
)
def test_a_trace_goes_on_in_a_new_span(parent: str, flags: str | None) -> None:
    """The trace id stays and the span does not; of an invalid parent nothing goes on but the baggage."""
    onward = dict(cloudevents.continue_trace([("traceparent", parent), ("tracestate", "a=1"), ("baggage", "b=2")]))
    assert onward.pop("baggage") == "b=2"
    if flags is None:
        assert onward == {}
    else:
        assert onward["tracestate"] == "a=1"
        assert onward["traceparent"].startswith(f"00-{TRACE}-")
        assert onward["traceparent"].endswith(f"-{flags}")
        assert "b7ad6b7169203331" not in onward["traceparent"]


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
