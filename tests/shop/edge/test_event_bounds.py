"""What an event's data may say, bound by bound: beyond each is what no honest event carries."""

from collections.abc import Callable

import pytest

from shop import messages
from shop.errors import Impossible
from shop.messages import from_bytes
from shop.schema.events_pb2 import PaymentRequested

BASKET = "66f0c1d2e3a4b5c6d7e8f901"


def event() -> PaymentRequested:
    """Return an honest one."""
    requested = PaymentRequested(user="Pavel", basket=BASKET, number=1, attempt=1, sum=1)
    requested.ordered_at.FromMilliseconds(1785585600120)
    return requested


def _set(**fields: object) -> Callable[[PaymentRequested], None]:
    def edit(requested: PaymentRequested) -> None:
        for name, value in fields.items():
            setattr(requested, name, value)

    return edit


def _at(nanos: int) -> Callable[[PaymentRequested], None]:
    def edit(requested: PaymentRequested) -> None:
        requested.ordered_at.nanos = nanos

    return edit


HONEST = {
    "the longest user": _set(user="ю" * messages.MAX_USER),
    "the largest sum": _set(sum=10**12),
    "a whole second": _at(0),
    "a millisecond": _at(1_000_000),
}
EDITED = {
    "no user": _set(user=""),
    "a user that is too long": _set(user="ю" * 129),
    "a user with a control character": _set(user="Pa\nvel"),
    "a basket in capitals": _set(basket=BASKET.upper()),
    "a basket that is too short": _set(basket=BASKET[1:]),
    "no sum": _set(sum=0),
    "a sum beyond the largest": _set(sum=10**12 + 1),
    "a negative sum": _set(sum=-1),
    "no number": _set(number=0),
    "no attempt": _set(attempt=0),
    "an attempt after which none can come": _set(attempt=2**63 - 1),
    "a microsecond": _at(1_000),
    "a nanosecond": _at(1),
    "no time": lambda requested: requested.ClearField("ordered_at"),
}


@pytest.mark.parametrize("edit", HONEST)
def test_what_an_honest_event_may_say_is_read(edit: str) -> None:
    """The bounds are inside."""
    requested = event()
    HONEST[edit](requested)
    assert from_bytes(PaymentRequested, requested.SerializeToString()) == requested


@pytest.mark.parametrize("edit", EDITED)
def test_what_no_honest_event_says_is_refused_for_good(edit: str) -> None:
    """It goes to the dead letters at once."""
    requested = event()
    EDITED[edit](requested)
    with pytest.raises(Impossible):
        from_bytes(PaymentRequested, requested.SerializeToString())
