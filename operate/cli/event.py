"""`orders event`: record events from a topic, send recorded ones again, show all that is known of one basket."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final

import typer
from bson import ObjectId

from operate import epochs, story
from operate.cli.options import AllEpochs, Concurrency, Json, Rate, Since, To, ToUrl, choose, destination, since_ms
from operate.cli.output import CHECK_FAILED, count, note, progress, show_json, show_lines, show_table
from operate.errors import NotReachable, WrongUse
from operate.places import NotTold
from operate.record import Recorded, replacing
from operate.running import RunningShop
from operate.send import Sent, anew
from operate.topics import NoTopic
from wire.recording import Recording

app = typer.Typer(no_args_is_help=True, help="Record events, send them again, show the full history of a basket.")

_BASKET: Final = re.compile("[0-9a-f]{24}")

# --- record ----------------------------------------------------------------------------------------------------------


@app.command()
def record(
    ctx: typer.Context,
    topic: Annotated[list[str], typer.Option(help="A topic to record; can be given several times.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; - is standard output.")] = Path(
        "-"
    ),
    since: Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many events.")] = None,
    json: Json = False,
) -> None:
    """Write what a topic holds now to a file, one structured CloudEvent per line.

    Each event is as KafkaSource would deliver it, its data as data_base64, so no byte changes. Its Kafka partition and
    offset are the extensions that KafkaSource adds, knativekafkapartition and knativekafkaoffset; we add kafkatopic and
    kafkakey. An existing file is replaced only after everything was read.

    Example: orders event record --topic payments --since 10m -o run.ndjson
    """
    running: RunningShop = ctx.obj
    recorded = Recorded(topic)
    to_stdout = str(output) == "-"
    opened = nullcontext(typer.get_text_stream("stdout")) if to_stdout else replacing(output, note)
    with opened as file, progress("recording") as step:
        recorded.record(running.topics(), file, since_ms(since), limit, step)
    if json and not to_stdout:
        show_json({"recorded": dict(recorded.counts), "skipped": recorded.skipped})
        return
    skipped = f"; skipped {recorded.skipped} that no KafkaSource delivers" if recorded.skipped else ""
    note(f"recorded {count(recorded.counts)}{skipped}")


# --- send ------------------------------------------------------------------------------------------------------------


@app.command()
def send(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Recorded events.")],
    to: To = None,
    to_url: ToUrl = None,
    times: Annotated[int, typer.Option(min=1, help="Send the whole file this many times.")] = 1,
    concurrency: Concurrency = 10,
    rate: Rate = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Send new events with the same content, each for a basket that nobody ordered."),
    ] = False,
    all_epochs: AllEpochs = False,
    json: Json = False,
) -> None:
    """Send recorded events again: the same ids, the same bytes. KafkaSource's retries apply, dead letters do not.

    The whole file is read before anything is sent. Events of an older epoch, emitted before the databases were
    restored, are refused by every consumer: they are counted, and skipped unless --all-epochs is given.

    With --new they are new events: the id names the effect, so each gets a basket of its own, and is charged. Its
    settlement is refused, because nobody ordered that basket. Use it to test a single function.

    Exit code 1 when an event was not accepted. When it is interrupted, or the target is gone, it reports how much was
    delivered.

    Example: orders event send run.ndjson --to billing-handler --times 3
    """
    running: RunningShop = ctx.obj
    target, recording = destination(running, to, to_url), Recording(file)
    epoch = _epoch(running, to, matters=not all_epochs)
    chosen = choose(recording, None if new else epoch, all_epochs=all_epochs)
    sent = Sent(target, times * len(chosen.numbers), chosen.older)
    events = (recording[number] for _ in range(times) for number in chosen.numbers)
    what = "new events" if new else "events again"
    with progress("sending", sent.total) as step:
        try:
            anew_or_again = (anew(event, epoch) for event in events) if new else events
            sent.deliver(anew_or_again, concurrency=concurrency, rate=rate, step=step)
        except BaseException:
            if target.begun:
                _show_sent(sent, what, chosen.left_out, json=json, stopped=True)
            raise
    _show_sent(sent, what, chosen.left_out, json=json)
    if sent.reasons:
        raise typer.Exit(CHECK_FAILED)


def _epoch(running: RunningShop, consumer: str | None, *, matters: bool) -> int | None:
    """Return the epoch that events would come into; None when nothing says where the databases are."""
    try:
        opened = running.databases()
    except NotTold:
        if matters:
            note("nothing says where MongoDB is, so it is not known which events are from before a restore")
        return None
    with opened as databases:
        return epochs.of_consumer(databases, consumer, note)


def _show_sent(sent: Sent, what: str, left_out: int, *, json: bool, stopped: bool = False) -> None:
    """Print what was sent; when it stopped halfway, with what was not answered then."""
    if json:
        show_json(sent.as_json(stopped=stopped))
    else:
        show_lines(_lines(sent, what, left_out, stopped=stopped))


def _lines(sent: Sent, what: str, left_out: int, *, stopped: bool) -> Iterator[str]:
    of = f"stopped; of {sent.total} were " if stopped else ""
    yield f"{of}sent {sent.answered} {what} to {sent.target.url}: {count(sent.answers) or 'none was answered'}"
    if left_out:
        yield f"skipped {left_out} events of an older epoch"
    if stopped and sent.unanswered:
        yield f"  {sent.unanswered} more were on their way: whether they were taken is not known"
    for reason, number in sent.frequent_reasons.items():
        yield f"  {number} x {reason}"


# --- show ------------------------------------------------------------------------------------------------------------


@app.command()
def show(
    ctx: typer.Context,
    basket: Annotated[str, typer.Argument(help="A basket id, 24 lowercase hex digits.")],
    since: Since = None,
    json: Json = False,
) -> None:
    """Show the full history of one basket: what the databases and the topics hold of it, oldest first.

    Orders and attempts, decisions, settlement, notifications, each delivery that a topic still holds, dead letters.
    A topic is read from its beginning, or from --since.

    Example: orders event show 66b1f0c2a5d3e4f601020304
    """
    running: RunningShop = ctx.obj
    if not _BASKET.fullmatch(basket):
        raise WrongUse(f"{basket!r} is not a basket id (24 lowercase hex digits)")
    with running.databases() as databases:
        moments = story.of_databases(databases, ObjectId(basket))
    try:
        moments += story.of_topics(running.topics(), running.places, basket, since_ms(since))
    except (NotReachable, NotTold, NoTopic) as error:
        note(f"without the topics: {error}")  # the databases alone tell most of it
    moments.sort(key=lambda moment: moment.at)
    if json:
        show_json([moment.as_json() for moment in moments])
    elif moments:
        show_table(("time", "where", "what"), ((moment.time, moment.where, moment.what) for moment in moments))
    if not moments:
        note(f"nothing is known of basket {basket}")
        raise typer.Exit(CHECK_FAILED)
