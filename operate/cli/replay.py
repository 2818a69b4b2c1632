"""`orders replay`: deliver recorded events again, in any order and number, and say what that changed.

A handler is idempotent when nothing changes: `--expect-noop` compares every document that the events may touch.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
import yaml

from operate import topics
from operate.cli.options import AllEpochs, Concurrency, Json, Rate, To, ToUrl, destination, seconds
from operate.cli.output import CHECK_FAILED, NotReachable, WrongUse, note, progress, show_json
from operate.databases import Databases
from operate.epochs import choose, current
from operate.places import CONSUMERS, Places
from operate.sending import Answer, Target, send_all
from operate.state import Difference, Scope, States
from wire.event import Event
from wire.recording import Recording

_SHOWN: Final = 10  # differences in text; a person reads no more, and JSON has up to _LISTED
_LISTED: Final = 1000
_POLL_S: Final = 0.5  # sources commit every 5 s

Moment = Literal["planned", "stopped", "done"]
"""When an outcome is told."""


def replay(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Recorded events.")],
    to: To = None,
    to_url: ToUrl = None,
    twice: Annotated[bool, typer.Option("--twice", help="Deliver the whole file twice.")] = False,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Deliver in an order of chance.")] = False,
    drop: Annotated[float, typer.Option(min=0, max=1, help="Leave out each delivery with this probability.")] = 0,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Double each delivery with this probability.")] = 0,
    concurrency: Concurrency = 50,
    rate: Rate = None,
    seed: Annotated[int | None, typer.Option(help="What chance goes by; the same seed, the same deliveries.")] = None,
    expect_noop: Annotated[
        bool, typer.Option("--expect-noop", help="Compare the documents that the events may touch; fail on a change.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --expect-noop: compare all documents of the three databases.")
    ] = False,
    expect: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A YAML file that the outcome must match.")
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            parser=seconds,
            metavar="TIME",
            help="How long to wait, before and after, for the consumers to take what the topics hold; 0s for no wait.",
        ),
    ] = 60.0,
    resend_paused: Annotated[
        bool, typer.Option("--resend-paused", help="Nothing resends meanwhile: leave nothing out for its sake.")
    ] = False,
    all_epochs: AllEpochs = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be delivered, and stop.")] = False,
    json: Json = False,
) -> None:
    """Deliver recorded events again and say what changed: the ids, the bytes and the retries of KafkaSource.

    Counted from the state before and after, and from the answers: applied (an effect that was not there), changed
    nothing, declined, rejected (never to be tried again), failed (given up after retries), retried.

    With --expect-noop the documents that the events touch are compared, field by field, whatever was answered. Resend
    is excluded: the field it claims baskets by is not compared, and a basket that became due for it meanwhile is left
    out, and said to be, unless --resend-paused. Let no customer order as one of the same users at the same time.

    What is of an older epoch, emitted before the databases were restored, is refused by every consumer: it is counted,
    and left out unless --all-epochs is given. When it is interrupted, or nobody answers there any more, it says how
    much was delivered.

    --expect names a YAML file with some of the fields of the --json output, such as {rejected: 0, applied: 12}.

    Exit code 1 when the outcome is not the expected one, or with --expect-noop when something changed, a delivery
    failed, or none was accepted.

    Example: orders replay run.ndjson --to billing-handler --twice --shuffle --expect-noop
    """
    places: Places = ctx.obj
    url, recording = destination(places, to, to_url), Recording(file)
    wanted = _expectation(expect)
    seed = random.randrange(2**32) if seed is None else seed  # noqa: S311 - nobody has to guess it
    with Databases(places) as databases:
        scope = Scope()
        chosen = choose(recording, current(databases, to), all_epochs=all_epochs, about=scope.add)
        deliveries = _deliveries(chosen.numbers, random.Random(seed), twice, shuffle, drop, duplicate)  # noqa: S311
        target = Target(url)
        outcome = Outcome(target, len(recording), len(deliveries), seed, chosen.older, chosen.left_out)
        if dry_run:
            outcome.show(json, "planned")
            return
        with closing(States(databases, scope, everything=everything)) as states:
            try:
                _wait(places, wait)
                with progress("state before"):
                    states.take("before")
                outcome.deliver((recording[each] for each in deliveries), concurrency, rate)
                _wait(places, wait)
                with progress("state after"):
                    states.take("after")
            except BaseException:
                if target.begun:
                    outcome.show(json, "stopped")
                raise
            excluded = 0 if resend_paused else states.exclude_resent(databases.now())
            outcome.compare(states, excluded, expect_noop)
    outcome.show(json)
    complaints = [f"not as expected: {mismatch}" for mismatch in _mismatches(wanted, outcome.as_json())]
    if expect_noop and outcome.failed:
        complaints.append(f"{outcome.failed} deliveries were never taken, so nothing is proved about them")
    if expect_noop and not outcome.accepted:
        complaints.append("no delivery was accepted, so nothing is proved; is it the right function?")
    for complaint in complaints:
        note(complaint)
    if complaints or (expect_noop and outcome.changed_documents):
        raise typer.Exit(CHECK_FAILED)


def _deliveries(
    events: list[int], chance: random.Random, twice: bool, shuffle: bool, drop: float, duplicate: float
) -> list[int]:
    """Return which events are delivered, in which order, by their numbers in the file."""
    deliveries = events * (2 if twice else 1)
    deliveries = [each for each in deliveries if chance.random() >= drop]
    deliveries = [each for one in deliveries for each in [one] * (1 + (chance.random() < duplicate))]
    if shuffle:
        chance.shuffle(deliveries)
    return deliveries


def _wait(places: Places, limit_s: float) -> None:
    """Wait until the consumers have acknowledged all that the topics hold: until then the state is on its way."""
    if not limit_s:
        return
    deadline = time.monotonic() + limit_s
    with progress("waiting for the consumers"):
        while behind := topics.lag(places.kafka, CONSUMERS):
            if time.monotonic() > deadline:
                raise NotReachable(
                    f"the consumers are {behind} events behind after {limit_s:.0f} s: start them, or give --wait"
                )
            time.sleep(_POLL_S)


@dataclass
class Outcome:
    """What was delivered, what was answered, and what it changed."""

    target: Target
    events: int
    deliveries: int
    seed: int
    older_epoch: int
    left_out: bool
    seconds: float = 0.0
    applied: int = 0
    declined: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    retried: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    compared: bool = False
    before: str = ""
    after: str = ""
    documents: int = 0
    excluded: int = 0
    changed_documents: int = 0
    differences: list[Difference] = field(default_factory=list)

    def deliver(self, events: Iterable[Event], concurrency: int, rate: float | None) -> None:
        """Deliver events, and count the answers."""
        with progress("delivering", self.deliveries) as steps:

            def told(_: Event, answer: Answer) -> None:
                self.count(answer)
                steps.done()

            begun = time.monotonic()
            asyncio.run(send_all(self.target, events, told, concurrency=concurrency, rate=rate))
            self.seconds = round(time.monotonic() - begun, 3)

    def count(self, answer: Answer) -> None:
        """Count one answer."""
        self.retried += answer.attempts > 1
        if answer.accepted:
            self.accepted += 1
            return
        self.reasons[answer.reason] += 1
        if answer.later:
            self.failed += 1
        else:
            self.rejected += 1

    def compare(self, states: States, excluded: int, documents: bool) -> None:
        """Count effects and, if asked for, find the documents that differ."""
        self.applied, self.declined = states.taken["after"].since(states.taken["before"])
        self.excluded = excluded
        if not documents:
            return
        self.compared = True
        self.documents = states.size("before")
        self.before, self.after = states.digest("before"), states.digest("after")
        for difference in states.differences():
            if difference.fields:  # the order of fields alone is no difference
                self.changed_documents += 1
                if len(self.differences) < _LISTED:
                    self.differences.append(difference)

    @property
    def changed_nothing(self) -> int:
        """Return how many accepted deliveries were repetitions."""
        return max(0, self.accepted - self.applied - self.declined)

    @property
    def counts(self) -> dict[str, int]:
        """Return what became of the deliveries."""
        return {
            "applied": self.applied,
            "changed nothing": self.changed_nothing,
            "declined": self.declined,
            "rejected": self.rejected,
            "failed": self.failed,
            "retried": self.retried,
        }

    @property
    def answered(self) -> int:
        """Return how many deliveries were answered, or given up."""
        return self.accepted + self.rejected + self.failed

    @property
    def unanswered(self) -> int:
        """Return how many were on their way when it stopped: whether they were taken is not known."""
        return self.target.begun - self.answered

    def as_json(self, moment: Moment = "done") -> dict[str, Any]:
        """Return it for JSON, and for an expectation to match."""
        told: dict[str, Any] = {"to": self.target.url, "events": self.events, "older_epoch": self.older_epoch}
        told |= {"deliveries": self.deliveries, "seed": self.seed}
        if moment == "stopped":
            not_sent = self.deliveries - self.target.begun
            told |= {"stopped": True, "answered": self.answered, "unanswered": self.unanswered, "not_sent": not_sent}
            told |= {name: getattr(self, name) for name in ("accepted", "rejected", "failed", "retried")}
        else:
            told |= {name.replace(" ", "_"): number for name, number in self.counts.items()}
        told |= {"seconds": self.seconds, "reasons": dict(self.reasons.most_common(_SHOWN))}
        if self.compared:
            told |= {
                "before": self.before,
                "after": self.after,
                "documents": self.documents,
                "due_for_resend": self.excluded,
                "changed_documents": self.changed_documents,
                "differences": [difference.as_json() for difference in self.differences],
            }
        return told

    def show(self, json: bool, moment: Moment = "done") -> None:
        """Print it."""
        if json:
            show_json(self.as_json(moment))
            return
        for text in self._lines(moment):
            typer.echo(text)
        if self.left_out:
            typer.echo(f"left out {self.older_epoch} events of an older epoch")

    def _lines(self, moment: Moment) -> Iterator[str]:
        what = f"{self.deliveries} deliveries of {self.events} events to {self.target.url}, by seed {self.seed}"
        if moment == "planned":
            yield f"would deliver {self.deliveries} of {self.events} events to {self.target.url}, by seed {self.seed}"
            return
        if moment == "stopped":
            yield f"stopped after {self.answered} of {what}"
            if self.unanswered:
                yield f"  {self.unanswered} more were on their way: whether they were taken is not known"
            yield "  the state was not compared: the same replay can be run again"
            yield "  " + "   ".join(f"{n} {getattr(self, n)}" for n in ("accepted", "rejected", "failed", "retried"))
        else:
            yield what
            yield f"in {self.seconds:.1f} s, {self.deliveries / (self.seconds or 0.001):.0f} a second"
            yield "  " + "   ".join(f"{name} {number}" for name, number in self.counts.items())
        for reason, number in self.reasons.most_common(_SHOWN):
            yield f"  {number} x {reason}"
        if not self.compared:
            return
        if self.excluded:
            yield f"{self.excluded} baskets became due for resend meanwhile; they and their users are left out"
        yield f"before  sha256 {self.before}  {self.documents} documents"
        yield f"after   sha256 {self.after}"
        if not self.changed_documents:
            yield "nothing changed"
            return
        yield f"{self.changed_documents} documents changed"
        for difference in self.differences[:_SHOWN]:
            yield f"\n{difference.title}: {difference.meaning}"
            for name, old, new in difference.fields:
                yield f"  {name}: {old or '(absent)'} -> {new or '(absent)'}"
        if self.changed_documents > _SHOWN:
            yield f"\nand {self.changed_documents - _SHOWN} more; --json lists up to {_LISTED}"


def _expectation(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        wanted = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise WrongUse(f"{file} is not YAML: {error}") from error
    if not isinstance(wanted, dict):
        raise WrongUse(f"{file} must hold fields of the --json output, such as applied: 12")
    return wanted


def _mismatches(wanted: object, found: object, path: str = "") -> Iterator[str]:
    """Yield where what was found lacks, or contradicts, what was wanted; what is not named may be anything."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for name, value in wanted.items():
            inner = f"{path}.{name}" if path else str(name)
            if name in found:
                yield from _mismatches(value, found[name], inner)
            else:
                yield f"{inner} is not in the outcome"
    elif isinstance(wanted, list) and isinstance(found, list):
        for value in wanted:
            if all(any(True for _ in _mismatches(value, each)) for each in found):
                yield f"{path} has no entry like {value}"
    elif wanted != found:
        yield f"{path} is {found}, not {wanted}"
