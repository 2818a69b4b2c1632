"""Say what the message in hand belongs to: what is logged and emitted because of it says so too."""

from contextvars import ContextVar

traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The trace that the message in hand is handled in."""

epoch: ContextVar[int] = ContextVar("epoch", default=0)
"""The epoch that this process works in."""
