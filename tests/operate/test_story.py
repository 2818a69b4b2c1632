"""What a topic says of a basket can be told, whichever version wrote it."""

import pytest

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
