"""The five fields of cron, as a PingSource writes them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

_BOUNDS: Final = {"minute": (0, 59), "hour": (0, 23), "day of month": (1, 31), "month": (1, 12), "day of week": (0, 6)}


@dataclass(frozen=True)
class Schedule:
    """When a timer ticks: at whole minutes, in UTC, the time zone of a cluster's pods."""

    text: str
    _fields: tuple[frozenset[int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a schedule such as `*/5 8-18 * * 1,3`.

        Raises:
            ValueError: anything but five fields of numbers, lists, ranges, steps and `*`. What a cluster takes
                beyond that (seconds, `@hourly`, names of months) is not implemented by local/.

        """
        fields = text.split()
        if len(fields) != len(_BOUNDS):
            raise ValueError(f"{text!r} does not have the five fields that local/ implements")
        return cls(text, tuple(map(_values, fields, _BOUNDS)))

    def matches(self, time: datetime) -> bool:
        """Whether it ticks in this minute."""
        minute, hour, day, month, weekday = self._fields
        days = time.day in day, time.isoweekday() % 7 in weekday
        # As cron has it: when both kinds of day are restricted, either will do.
        restricted = len(day) < 31 and len(weekday) < 7
        return (
            time.minute in minute
            and time.hour in hour
            and time.month in month
            and (any(days) if restricted else all(days))
        )


def _values(field: str, name: str) -> frozenset[int]:
    lowest, highest = _BOUNDS[name]
    values: set[int] = set()
    for item in field.split(","):
        span, slash, step = item.partition("/")
        first, dash, last = (str(lowest), "-", str(highest)) if span == "*" else span.partition("-")
        numbers = (first, last if dash else first, step if slash else "1")
        if not all(number.isascii() and number.isdigit() for number in numbers) or (slash and not dash):
            raise ValueError(f"{item!r} as {name} is not implemented by local/")
        start, end, by = map(int, numbers)
        if not lowest <= start <= end <= highest or by == 0:
            raise ValueError(f"{item!r} as {name} is not within {lowest} to {highest}")
        values.update(range(start, end + 1, by))
    return frozenset(values)
