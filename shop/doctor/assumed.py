"""What the code takes for granted, and manifests must fit. Tests hold each number to the code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Assumed:
    """Times and bounds of the code, beside which a manifest has others."""

    sink_s: float = 2
    mongodb_s: float = 5
    function_s: float = 10
    body_s: float = 10
    tick_s: float = 28
    answered_s: float = 28
    drain_s: float = 22
    health_s: float = 0.5
    keep_alive_s: float = 120
    resend_after_s: float = 60
    array_limit: tuple[int, int] = (64, 32)
    array_bounds: tuple[int, int] = (1, 1000)
    waiting: tuple[str, ...] = ("create_order", "get_order")
    """The functions in which a client may wait for an outcome, until `answered_s` after it sent its request."""
    admins: Mapping[str, str] = field(
        default_factory=lambda: {"create_user": "makes accounts", "deposit_cash": "adds to any balance"}
    )
    """The functions that only an admin may call, where tokens are demanded, and what else anybody does there."""


ASSUMED: Final = Assumed()

DAY_MS: Final = 24 * 3600 * 1000
EVENTS_KEPT_MS: Final = 7 * DAY_MS
"""An outage of a week is repaired by resend and by what waits in the topics."""
LETTERS_KEPT_MS: Final = 30 * DAY_MS
"""A dead letter waits for somebody to notice, to mend the cause and to redrive."""
