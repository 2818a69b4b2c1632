"""CloudEvents as the real ones read them: rules that the recordings show only by single cases."""

import pytest

from wire import event as cloudevents
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


def test_an_attribute_is_text_whatever_it_was() -> None:
    """Numbers as they are written in a header; empty when there is none of that name."""
    event = Event({"specversion": "1.0", "number": 2**40, "nothing": None}, None)
    assert [event.text(name) for name in ("specversion", "number", "nothing", "absent")] == ["1.0", str(2**40), "", ""]
