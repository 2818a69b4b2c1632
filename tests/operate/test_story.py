"""What a topic says of a basket can be told, whichever version wrote it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from operate import story
from operate.places import find
from shop.schema.events_pb2 import DECLINED, PAID, PaymentDecided, PaymentRequested
from tests.support.records import Message

ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}


@pytest.mark.parametrize(
    ("about", "told"),
    [
        (PaymentRequested(attempt=1, sum=5), "PaymentRequested attempt 1, sum 5"),
        (PaymentRequested(attempt=1, sum=5, epoch=2), "PaymentRequested attempt 1, sum 5, epoch 2"),
        (PaymentDecided(attempt=2, sum=5, outcome=PAID), "PaymentDecided attempt 2, sum 5: paid"),
        (
            PaymentDecided(attempt=2, sum=5, outcome=DECLINED, reason="insufficient funds", epoch=1),
            "PaymentDecided attempt 2, sum 5: declined (insufficient funds), epoch 1",
        ),
        (PaymentDecided(attempt=2, sum=5, outcome=7), "PaymentDecided attempt 2, sum 5: outcome 7"),  # type: ignore[arg-type]
    ],
)
def test_each_event_is_told_in_words(about: PaymentRequested | PaymentDecided, told: str) -> None:
    """An outcome that only a newer version knows is its number: it ended the whole story with a trace."""
    attributes = {**ATTRIBUTES, "type": about.DESCRIPTOR.full_name}
    headers: list[tuple[str, bytes | None]] = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    assert story.said(Message(about.SerializeToString(), headers), find({})) == told


def test_each_attempt_is_told_in_the_order_in_which_it_happened() -> None:
    """Ordered, decided, settled; of what 67d5614 settled there is only when it was decided."""
    at = datetime(2026, 11, 27, 12, tzinfo=UTC)

    def after(**seconds: int) -> dict[str, Any]:
        return {name: at + timedelta(seconds=later) for name, later in seconds.items()}

    declines = [
        {"attempt": 1, "sum": 5, "reason": "unknown user", **after(ordered_at=1, decided_at=2)},
        {"attempt": 2, "sum": 6, "reason": "unknown user", **after(ordered_at=3, decided_at=4, settled_at=5)},
    ]
    basket = {
        "_id": ObjectId.from_datetime(at),
        "user": "Pavel",
        "number": 1,
        "status": "paid",
        "attempt": 3,
        "sum": 7,
        "declines": declines,
        **after(ordered_at=6, decided_at=7, settled_at=8),
    }
    moments = sorted(story.of_basket(basket), key=lambda moment: moment.at)
    assert [(round((moment.at - at).total_seconds()), moment.what) for moment in moments] == [
        (0, "basket 1 of Pavel made"),
        (1, "attempt 1 ordered, sum 5"),
        (2, "attempt 1 settled: open again (unknown user)"),
        (3, "attempt 2 ordered, sum 6"),
        (4, "attempt 2 decided: declined (unknown user)"),
        (5, "attempt 2 settled: open again (unknown user)"),
        (6, "attempt 3 ordered, sum 7"),
        (8, "attempt 3 settled: paid"),
    ]
