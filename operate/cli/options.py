"""Options that several verbs have, with one meaning everywhere, and what a command finds when it starts."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from operate import epochs
from operate.cli.output import note, progress
from operate.deliver import Target
from operate.epochs import Chosen
from operate.errors import WrongUse
from operate.payments import Payment
from operate.places import KNOWN, Places
from operate.running import RunningShop
from operate.urls import checked
from wire.recording import Recording

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S: Final = 36_500 * 86_400.0  # a hundred years: nothing is older, and no clock or sleep overflows


@dataclass(frozen=True)
class Surroundings:
    """What a command finds when it starts: the environment, and how a shop is opened. Tests hand in others."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    open: Callable[[Places, Callable[[str], None]], RunningShop] = RunningShop


def seconds(text: str | float) -> float:
    """Read a duration such as `90s`, `10m`, `2h` or `7d`. Raises BadParameter, for the command line."""
    if not isinstance(text, str):
        return text  # a default, which passes here too
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text, re.ASCII)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration; use 90s, 10m, 2h or 7d")
    duration = float(match[1]) * _UNITS[match[2]]
    if duration > _LONGEST_S:
        raise typer.BadParameter(f"{text[:40]!r} is longer than a hundred years; use 90s, 10m, 2h or 7d")
    return duration


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
To = Annotated[str | None, typer.Option(help=f"The consumer to send to: {', '.join(KNOWN)}.")]
ToUrl = Annotated[str | None, typer.Option(help="A URL to send to instead, e.g. that of a version under test.")]
Concurrency = Annotated[
    int, typer.Option(min=1, max=1000, help="Events in flight at the same time; a KafkaSource has about 50.")
]
Rate = Annotated[float | None, typer.Option(min=0.001, help="Maximum number of events per second.")]
Since = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="AGE", help="Only records newer than this age, e.g. 90s, 10m, 2h, 7d."),
]
AllEpochs = Annotated[
    bool, typer.Option("--all-epochs", help="Also send events of an older epoch, which every consumer refuses.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")]


def destination(running: RunningShop, to: str | None, to_url: str | None) -> Target:
    """Return what one of the two options names."""
    if (to is None) == (to_url is None):
        raise WrongUse("specify exactly one of --to and --to-url")
    return running.function(to or "") if to_url is None else running.target(checked(to_url, "--to-url"))


def choose(
    recording: Recording, epoch: int | None, *, all_epochs: bool, about: Callable[[Payment], None] = lambda _: None
) -> Chosen:
    """Return which events of a recording are sent into an epoch, as --all-epochs says; say what is left out."""
    with progress("reading", len(recording)) as step:
        found = epochs.choose(recording, epoch, all_epochs=all_epochs, about=about, step=step)
    for remark in found.remarks:
        note(remark)
    return found


def since_ms(age_s: float | None) -> int | None:
    """Return the time of an age, as Kafka counts time, which begins in 1970."""
    return None if age_s is None else max(0, int((datetime.now(UTC).timestamp() - age_s) * 1000))
