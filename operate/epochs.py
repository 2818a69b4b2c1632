"""Know which recorded events are of before a restore: every consumer refuses them, so they are not sent unless asked.

A restore of the databases begins the next epoch; each of the three keeps its number in `meta`, and each event carries
the one that it was emitted in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from operate.databases import Databases
from operate.errors import WrongUse
from operate.payments import Payment, payment
from operate.places import KNOWN
from shop.messages import rfc3339
from shop.state import EPOCH_ID, SERVICES
from wire.recording import Recording


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


def of_consumer(databases: Databases, consumer: str | None, tell: Callable[[str], None]) -> int:
    """Return the epoch that a consumer is in; of one that is not known by name, the latest. Tell of a disagreement."""
    found = read(databases)
    if different := disagreement(found):
        tell(different)
    if consumer is None:
        return max(epoch.number for epoch in found.values())
    return found[KNOWN[consumer].service].number


@dataclass(frozen=True)
class Chosen:
    """Which events of a recording are sent."""

    numbers: list[int]
    """Their numbers in the file."""

    total: int
    epoch: int | None
    """The epoch that they come into; None when that is not known, or does not matter."""

    older: int
    """How many are of an older epoch, whether they are sent or not."""

    newer: int
    all_epochs: bool

    @property
    def left_out(self) -> int:
        """Return how many are not sent."""
        return 0 if self.all_epochs else self.older

    @property
    def remarks(self) -> list[str]:
        """Say what is to be known before anything is sent."""
        remarks = []
        if self.older:
            sent = "sent all the same" if self.all_epochs else "left out, unless --all-epochs is given"
            remarks.append(
                f"{self.older} of {self.total} events are of an older epoch than {self.epoch}, emitted before the "
                f"databases were restored: every consumer refuses them; they are {sent}"
            )
        if self.newer:
            newer = f"{self.newer} of {self.total} events are of a newer epoch than {self.epoch}"
            remarks.append(f"{newer}: no consumer takes them yet")
        return remarks


def choose(
    recording: Recording,
    epoch: int | None,
    *,
    all_epochs: bool,
    about: Callable[[Payment], None] = lambda _: None,
    step: Callable[[], None] = lambda: None,
) -> Chosen:
    """Read the whole recording, before anything of it is sent, and tell what each event that is kept is about.

    Args:
        recording: the events.
        epoch: the one that they would come into; None when that is not known, or does not matter.
        all_epochs: keep what is of an older one.
        about: told of each payment.
        step: called for each event.

    Raises:
        NotARecordingError: a line is no event.
        WrongUse: all of them are of an older epoch and left out.

    """
    numbers: list[int] = []
    older = newer = 0
    for number, event in enumerate(recording):
        step()
        what = payment(event)
        if what is not None and epoch is not None:
            older += what.epoch < epoch
            newer += what.epoch > epoch
            if what.epoch < epoch and not all_epochs:
                continue
        numbers.append(number)
        if what is not None:
            about(what)
    chosen = Chosen(numbers, len(recording), epoch, older, newer, all_epochs)
    if not numbers:
        raise WrongUse(f"nothing of {recording.file} is left to send: {'; '.join(chosen.remarks)}")
    return chosen
