"""A trace is read, begun and written as W3C Trace Context says."""

from random import Random

import pytest

from shop.process import trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
OURS = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (OURS, OURS),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", OURS),
        (f"00-{TRACE}-{SPAN}-02", f"00-{TRACE}-{SPAN}-00"),
        (f"cc-{TRACE}-{SPAN}-01", OURS),
        (f"cc-{TRACE}-{SPAN}-01-what-will-be", OURS),
        (f"cc-{TRACE}-{SPAN}-01.what-will-be", None),
        (f"{OURS}-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f" {OURS}", None),
        (f"{OURS}\n", None),
        ("", None),
        (None, None),
    ],
)
def test_a_trace_is_read_as_the_standard_says(sent: str | None, read: str | None) -> None:
    """Of a version to come the first fields count; one that is wrong is none."""
    assert trace.read(sent) == read


def test_a_trace_that_begins_is_one() -> None:
    """Its ids come from the process, and nobody is told to record what is not recorded here."""
    begun = trace.begin(Random(1).getrandbits)
    assert begun == trace.read(begun) == trace.begin(Random(1).getrandbits)
    assert not trace.is_sampled(begun)
    assert trace.is_sampled(trace.begin(Random(1).getrandbits, sampled=True))
    assert f"00-{trace.trace_of(begun)}-{trace.span_of(begun)}-00" == begun
