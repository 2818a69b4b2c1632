"""Say what the message in hand belongs to: whatever is emitted because of it carries both on."""

from contextvars import ContextVar

traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The trace that the message in hand belongs to."""

epoch: ContextVar[int] = ContextVar("epoch", default=0)
"""The epoch that this process works in."""
