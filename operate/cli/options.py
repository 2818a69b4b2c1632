"""Options that several verbs have, with one meaning everywhere."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from operate.cli.output import WrongUse
from operate.places import CONSUMERS, Places
from operate.urls import checked

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S: Final = 36_500 * 86_400.0  # a hundred years: nothing is older, and no clock or sleep overflows


def seconds(text: str | float) -> float:
    """Read a duration such as `90s`, `10m`, `2h` or `7d`. Raises BadParameter, for the command line."""
    if not isinstance(text, str):
        return text  # a default, which passes here too
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text, re.ASCII)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 10m, 2h or 7d")
    duration = float(match[1]) * _UNITS[match[2]]
    if duration > _LONGEST_S:
        raise typer.BadParameter(f"{text[:40]!r} is longer than a hundred years; write 90s, 10m, 2h or 7d")
    return duration


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
To = Annotated[str | None, typer.Option(help=f"The consumer to send to: {', '.join(CONSUMERS)}.")]
ToUrl = Annotated[str | None, typer.Option(help="A URL to send to instead, such as that of a version under test.")]
Concurrency = Annotated[
    int, typer.Option(min=1, max=1000, help="Events in flight at once; a KafkaSource has about 50.")
]
Rate = Annotated[float | None, typer.Option(min=0.001, help="Events a second, at most.")]
Since = Annotated[
    float | None, typer.Option(parser=seconds, metavar="AGE", help="Only what is younger: 90s, 10m, 2h, 7d.")
]
AllEpochs = Annotated[
    bool, typer.Option("--all-epochs", help="Send events of an older epoch too, which every consumer refuses.")
]


def destination(places: Places, to: str | None, to_url: str | None) -> str:
    """Return the URL that one of the two options names."""
    if (to is None) == (to_url is None):
        raise WrongUse("say where to: give --to or --to-url, one of them")
    return places.function(to or "") if to_url is None else checked(to_url, "--to-url")


def since_ms(age_s: float | None) -> int | None:
    """Return the time of an age, as Kafka counts time, which begins in 1970."""
    return None if age_s is None else max(0, int((datetime.now(UTC).timestamp() - age_s) * 1000))
