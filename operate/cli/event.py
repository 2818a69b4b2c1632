"""`orders event`: record events from a topic, send recorded ones again, show all that is known of one basket."""

import asyncio
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer
from bson import ObjectId

from operate import timeline, topics
from operate.cli.options import AllEpochs, Concurrency, Json, Rate, Since, To, ToUrl, destination, since_ms
from operate.cli.output import CHECK_FAILED, NotReachable, WrongUse, count, note, progress, show_json, show_table
from operate.databases import Databases
from operate.epochs import choose, current
from operate.payments import payment
from operate.places import NotTold, Places
from operate.sending import Answer, Target, send_all
from shop.messages import event_id, rfc3339
from wire.event import Event, NotAnEventError
from wire.recording import Recording, line, recorded

app = typer.Typer(no_args_is_help=True, help="Record events, send them again, show what is known of a basket.")

_BASKET: Final = re.compile("[0-9a-f]{24}")
_REASONS: Final = 10  # the most frequent ones; the rest are variations

# --- record ----------------------------------------------------------------------------------------------------------


@app.command()
def record(
    ctx: typer.Context,
    topic: Annotated[list[str], typer.Option(help="A topic to record; may be given several times.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; - is standard output.")] = Path(
        "-"
    ),
    since: Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")] = None,
    json: Json = False,
) -> None:
    """Write what a topic holds now to a file, one structured CloudEvent per line.

    Each event is as KafkaSource would deliver it, its data as data_base64, so no byte changes. Its Kafka partition and
    offset are the extensions that KafkaSource adds, knativekafkapartition and knativekafkaoffset; kafkatopic and
    kafkakey stand beside them. A file that is there is replaced once all is read, and not before.

    Example: orders event record --topic payments --since 10m -o run.ndjson
    """
    places: Places = ctx.obj
    counts: Counter[str] = Counter(dict.fromkeys(topic, 0))
    skipped = 0
    to_stdout = str(output) == "-"
    opened = nullcontext(typer.get_text_stream("stdout")) if to_stdout else _replacing(output)
    with opened as file, progress("recording") as steps:
        for message in topics.read(places.kafka, topic, since_ms(since)):
            try:
                event = recorded(message)
            except NotAnEventError:
                skipped += 1  # KafkaSource discards it too
                continue
            file.write(line(event) + "\n")
            counts[message.topic() or ""] += 1
            steps.done()
            if limit is not None and counts.total() == limit:
                break
    if json and not to_stdout:
        show_json({"recorded": dict(counts), "skipped": skipped})
    else:
        note(f"recorded {count(counts)}" + (f"; skipped {skipped} that no KafkaSource delivers" if skipped else ""))


@contextmanager
def _replacing(file: Path) -> Iterator[TextIO]:
    """Write a file beside the one that is wanted, which it replaces when it is whole: a former one is there until then.

    What is no file, such as a pipe, is written to as it is.
    """
    file = file.resolve()  # a link stays one
    if file.exists() and not file.is_file():
        if file.is_dir():
            raise WrongUse(f"{file} is a folder; name a file in it")
        with file.open("w", encoding="utf-8") as special:
            yield special
        return
    if not file.parent.is_dir():
        raise WrongUse(f"there is no folder {file.parent} to write {file.name} in")
    beside = file.parent / f".{secrets.token_hex(8)}.part"
    try:
        with beside.open("x", encoding="utf-8") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            shutil.copymode(file, beside)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        note(f"{file} is as it was" if file.exists() else f"{file} was not written")
        raise


# --- send ------------------------------------------------------------------------------------------------------------


@app.command()
def send(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Recorded events.")],
    to: To = None,
    to_url: ToUrl = None,
    times: Annotated[int, typer.Option(min=1, help="Send the whole file so many times.")] = 1,
    concurrency: Concurrency = 10,
    rate: Rate = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Send other events of the same content: each with a basket that nobody ordered."),
    ] = False,
    all_epochs: AllEpochs = False,
    json: Json = False,
) -> None:
    """Send recorded events again: the same ids, the same bytes. KafkaSource's retries apply, dead letters do not.

    The whole file is read before anything of it is sent. What is of an older epoch, emitted before the databases were
    restored, is refused by every consumer: it is counted, and left out unless --all-epochs is given.

    With --new they are other events: the id names the effect, so each gets a basket of its own, and is charged anew.
    Its settlement is refused, for nobody ordered that basket; it is for tests of a single function.

    Exit code 1 when an event was not accepted. When it is interrupted, or nobody answers there any more, it says how
    much was delivered.

    Example: orders event send run.ndjson --to billing-handler --times 3
    """
    places: Places = ctx.obj
    url, recording = destination(places, to, to_url), Recording(file)
    now = _epoch(places, to, matters=not all_epochs)
    chosen = choose(recording, None if new else now, all_epochs=all_epochs)
    target = Target(url)
    sent = Sent(
        target, times * len(chosen.numbers), "new events" if new else "events again", chosen.older, chosen.left_out
    )
    events = (recording[number] for _ in range(times) for number in chosen.numbers)
    with progress("sending", sent.total) as steps:

        def told(_: Event, answer: Answer) -> None:
            sent.count(answer)
            steps.done()

        try:
            anew_or_again = (anew(event, now) for event in events) if new else events
            asyncio.run(send_all(target, anew_or_again, told, concurrency=concurrency, rate=rate))
        except BaseException:
            if target.begun:
                sent.show(json, halfway=True)
            raise
    sent.show(json)
    if sent.reasons:
        raise typer.Exit(CHECK_FAILED)


def _epoch(places: Places, consumer: str | None, *, matters: bool) -> int | None:
    """Return the epoch that events would come into; None when nothing says where the databases are."""
    if not places.knows_mongodb:
        if matters:
            note("nothing says where MongoDB is, so it is not known which events are of before a restore")
        return None
    with Databases(places) as databases:
        return current(databases, consumer)


@dataclass
class Sent:
    """What was sent, and what was answered."""

    target: Target
    total: int
    what: str
    older_epoch: int
    left_out: bool
    answers: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, answer: Answer) -> None:
        """Count one answer."""
        self.answers[_answered(answer)] += 1
        if not answer.accepted:
            self.reasons[answer.reason] += 1

    def show(self, json: bool, *, halfway: bool = False) -> None:
        """Print it; halfway, with what was not sent, and what was not answered when it stopped."""
        sent, url = self.answers.total(), self.target.url
        open_ = self.target.begun - sent
        if json:
            stopped = {"stopped": True, "unanswered": open_, "not_sent": self.total - sent - open_} if halfway else {}
            show_json(
                {"to": url, "sent": sent, "answers": dict(self.answers), "reasons": dict(self.reasons.most_common(20))}
                | {"older_epoch": self.older_epoch}
                | stopped
            )
            return
        stopped_after = f"stopped; of {self.total} were " if halfway else ""
        typer.echo(f"{stopped_after}sent {sent} {self.what} to {url}: {count(self.answers) or 'none was answered'}")
        if self.left_out:
            typer.echo(f"left out {self.older_epoch} events of an older epoch")
        if halfway and open_:
            typer.echo(f"  {open_} more were on their way: whether they were taken is not known")
        for reason, number in self.reasons.most_common(_REASONS):
            typer.echo(f"  {number} x {reason}")


def _answered(answer: Answer) -> str:
    return f"answered {answer.status}" if answer.status else "not answered"


def anew(event: Event, epoch: int | None) -> Event:
    """Return another event with the same content: another effect, so another id, now, and of this epoch."""
    about = payment(event)
    now = rfc3339(datetime.now(UTC))
    if about is None:
        return event.with_attributes(id=str(ObjectId()), time=now)
    about.basket = str(ObjectId())
    if epoch is not None:
        about.epoch = epoch
    data = about.SerializeToString(deterministic=True)
    return Event({**event.attributes, "id": event_id(about), "subject": about.basket, "time": now}, data)


# --- show ------------------------------------------------------------------------------------------------------------


@app.command()
def show(
    ctx: typer.Context,
    basket: Annotated[str, typer.Argument(help="The id of a basket, 24 hex digits.")],
    since: Since = None,
    json: Json = False,
) -> None:
    """Show what the databases and the topics hold of one basket, in the order of time.

    Orders and attempts, decisions, settlement, notifications, each delivery that a topic still holds, dead letters.
    A topic is read from its beginning, or from --since.

    Example: orders event show 66b1f0c2a5d3e4f601020304
    """
    places: Places = ctx.obj
    if not _BASKET.fullmatch(basket):
        raise WrongUse(f"{basket!r} is no basket id; it has 24 hex digits in lower case")
    moments = timeline.of_databases(places, ObjectId(basket))
    try:
        moments += timeline.of_topics(places, basket, since_ms(since))
    except (NotReachable, NotTold, topics.NoTopic) as error:
        note(f"without the topics: {error}")  # the databases alone tell most of it
    moments.sort(key=lambda moment: moment.at)
    if json:
        show_json([moment.as_json() for moment in moments])
    elif moments:
        show_table(("time", "where", "what"), ((moment.time, moment.where, moment.what) for moment in moments))
    if not moments:
        note(f"nothing is known of basket {basket}")
        raise typer.Exit(CHECK_FAILED)
