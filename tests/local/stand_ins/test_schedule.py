"""Schedules are cron's, and what is not read is refused."""

from datetime import UTC, datetime

import pytest

from local.stand_ins.schedule import Schedule

SUNDAY = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("* * * * *", True),
        ("30 17 22 11 0", True),
        ("31 * * * *", False),
        ("*/15 * * * *", True),
        ("*/7 * * * *", False),
        ("0-40/10 * * * *", True),
        ("0,30 16-18 * * *", True),
        ("* 18 * * *", False),
        ("* * 23 * *", False),
        ("* * * 12 *", False),
        ("* * * * 1-6", False),
        ("* * 1 * 0", True),
        ("* * 22 * 1", True),
        ("* * 1 * 1", False),
    ],
)
def test_a_schedule_ticks_in_the_minutes_it_names(text: str, ticks: bool) -> None:
    """All fields count; of a day of month and a day of week, both restricted, either does."""
    assert Schedule.parse(text).matches(SUNDAY) == ticks


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "0 * * * * *", "@hourly", "@every 5m", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *"),
        *("* * * * 7", "* * * jan *", "*/0 * * * *", "5/10 * * * *", "9-5 * * * *", "1,,2 * * * *", "-1 * * * *"),
        *("١ * * * *", "? * * * *"),
    ],
)
def test_what_local_does_not_read_is_refused(text: str) -> None:
    """A timer that ticks at other times than in a cluster would be worse than none."""
    with pytest.raises(ValueError, match=r"local/|within"):
        Schedule.parse(text)
