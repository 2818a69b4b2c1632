"""Know which recorded events are of before a restore: every consumer refuses them, so they are not sent unless asked.

A restore of the databases begins the next epoch; each of the three keeps its number in `meta`, and each event carries
the one that it was emitted in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from operate.cli.output import WrongUse, note, progress
from operate.databases import Databases
from operate.payments import Payment, payment
from operate.places import SERVICES
from shop.messages import rfc3339
from shop.state import EPOCH_ID
from wire.recording import Recording

SERVICE_OF: Final = {"billing-handler": "billing", "order-handler": "orders", "notify-handler": "notify"}
"""The database that each consumer takes the epoch from."""


@dataclass(frozen=True)
class Epoch:
    """Which epoch a database is in, and when it was restored; 0 before the first restore."""

    number: int = 0
    restored_at: datetime | None = None

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.number}, restored at {rfc3339(self.restored_at)}" if self.restored_at else str(self.number)


def read(databases: Databases) -> dict[str, Epoch]:
    """Return the epoch of each service's database; 0 for one that was never restored."""
    stored = {service: databases.collection(service, "meta").find_one({"_id": EPOCH_ID}) for service in SERVICES}
    return {
        service: Epoch(int(epoch["epoch"]), epoch["restored_at"]) if epoch else Epoch()
        for service, epoch in stored.items()
    }


def disagreement(found: Mapping[str, Epoch]) -> str:
    """Say that the databases are of different epochs, and what to do; empty when they are of one."""
    if len({epoch.number for epoch in found.values()}) == 1:
        return ""
    told = ", ".join(f"{service} {epoch.number}" for service, epoch in found.items())
    return f"the databases are of different epochs: {told}; after a restore run python -m shop.setup --restored"


def current(databases: Databases, consumer: str | None) -> int:
    """Return the epoch that a consumer is in; of one that is not known by name, the latest."""
    found = read(databases)
    if different := disagreement(found):
        note(different)
    return found[SERVICE_OF[consumer]].number if consumer else max(epoch.number for epoch in found.values())


@dataclass(frozen=True)
class Chosen:
    """Which events of a recording are sent: their numbers in the file."""

    numbers: list[int]
    older: int
    """How many are of an older epoch, whether they are sent or not."""

    left_out: bool
    """Whether those are not sent, and there are some."""


def choose(
    recording: Recording, now: int | None, *, all_epochs: bool, about: Callable[[Payment], None] = lambda _: None
) -> Chosen:
    """Read the whole recording, before anything of it is sent, and tell what each event that is kept is about.

    Args:
        recording: the events.
        now: the epoch that they would come into; None when that is not known, or does not matter.
        all_epochs: keep what is of an older one.
        about: told of each payment.

    Raises:
        NotARecordingError: a line is no event.
        WrongUse: all of them are of an older epoch and left out.

    """
    numbers: list[int] = []
    older = newer = 0
    with progress("reading", len(recording)) as steps:
        for number, event in enumerate(recording):
            steps.done()
            what = payment(event)
            if what is not None and now is not None:
                older += what.epoch < now
                newer += what.epoch > now
                if what.epoch < now and not all_epochs:
                    continue
            numbers.append(number)
            if what is not None:
                about(what)
    if older:
        sent = "they are sent all the same" if all_epochs else "they are left out, unless --all-epochs is given"
        note(
            f"{older} of {len(recording)} events are of an older epoch than {now}, emitted before the databases were "
            f"restored: every consumer refuses them; {sent}"
        )
    if newer:
        note(f"{newer} of {len(recording)} events are of a newer epoch than {now}: no consumer takes them yet")
    if not numbers:
        raise WrongUse(f"nothing of {recording.file} is left to send")
    return Chosen(numbers, older, left_out=bool(older) and not all_epochs)
