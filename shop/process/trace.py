"""Continue a trace, or begin one, as W3C Trace Context says.

Promise: it is for looking at alone. No answer and no decision depends on it, and what is no trace is as if it were not
sent. What goes on is a `traceparent` of 55 characters: no `tracestate`, and no `baggage`, which grows on its way.
"""

import re
from collections.abc import Callable

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

_SAMPLED = 1
"""The flag that says that whoever was there before records its part. It goes on as it came."""


def read(sent: str | None) -> str | None:
    """Return the trace that somebody sent, as version 00; None for what is none.

    Of a version that is not known here the first four fields count.
    """
    if sent is None or (match := _TRACEPARENT.fullmatch(sent)) is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == "00" and more is not None:
        return None
    return traceparent(trace, span, sampled=bool(int(flags, 16) & _SAMPLED))


def begin(random_bits: Callable[[int], int], *, sampled: bool = False) -> str:
    """Begin a trace."""
    ids = f"{random_bits(192):048x}"
    return traceparent(ids[:32], ids[32:], sampled=sampled)


def traceparent(trace: str, span: str, *, sampled: bool) -> str:
    """Write it."""
    return f"00-{trace}-{span}-0{sampled:d}"


def trace_of(traceparent: str) -> str:
    """Return the id of the trace."""
    return traceparent[3:35]


def span_of(traceparent: str) -> str:
    """Return the id of the span."""
    return traceparent[36:52]


def is_sampled(traceparent: str) -> bool:
    """Tell whether it is recorded."""
    return traceparent[-1] == "1"
