"""`orders event`: record events from a topic, send recorded ones again, show all that is known of one basket."""

import asyncio
import re
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from bson import ObjectId
from confluent_kafka import KafkaException

from cli import timeline, topics
from cli.events import Recording, line, payment, recorded
from cli.options import Concurrency, Json, Rate, Since, To, ToUrl, destination, since_ms
from cli.output import CHECK_FAILED, NotReachable, WrongUse, count, note, progress, show_json, show_table
from cli.places import Places
from cli.sending import Answer, Target, send_all
from local.cloudevents import Event, NotAnEventError
from shop.messages import event_id, rfc3339

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
    kafkakey stand beside them.

    Example: orders event record --topic payments --since 10m -o run.ndjson
    """
    places: Places = ctx.obj
    counts: Counter[str] = Counter(dict.fromkeys(topic, 0))
    skipped = 0
    to_stdout = str(output) == "-"
    opened = nullcontext(typer.get_text_stream("stdout")) if to_stdout else output.open("w", encoding="utf-8")
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
    json: Json = False,
) -> None:
    """Send recorded events again: the same ids, the same bytes. KafkaSource's retries apply, dead letters do not.

    With --new they are other events: the id names the effect, so each gets a basket of its own, and is charged anew.
    Its settlement is refused, for nobody ordered that basket; it is for tests of a single function.

    Exit code 1 when an event was not accepted.

    Example: orders event send run.ndjson --to billing-handler --times 3
    """
    places: Places = ctx.obj
    url, recording = destination(places, to, to_url), Recording(file)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()

    def told(_: Event, answer: Answer) -> None:
        counts[_answered(answer)] += 1
        if not answer.accepted:
            reasons[answer.reason] += 1
        steps.done()

    events = (event for _ in range(times) for event in recording)
    with progress("sending", times * len(recording)) as steps:
        sent = (anew(event) for event in events) if new else events
        asyncio.run(send_all(Target(url), sent, told, concurrency=concurrency, rate=rate))
    if json:
        show_json(
            {"to": url, "sent": counts.total(), "answers": dict(counts), "reasons": dict(reasons.most_common(20))}
        )
    else:
        typer.echo(f"sent {counts.total()} {'new events' if new else 'events again'} to {url}: {count(counts)}")
        for reason, number in reasons.most_common(_REASONS):
            typer.echo(f"  {number} x {reason}")
    if reasons:
        raise typer.Exit(CHECK_FAILED)


def _answered(answer: Answer) -> str:
    return f"answered {answer.status}" if answer.status else "not answered"


def anew(event: Event) -> Event:
    """Return another event with the same content: another effect, so another id, and now."""
    about = payment(event)
    now = rfc3339(datetime.now(UTC))
    if about is None:
        return event.with_attributes(id=str(ObjectId()), time=now)
    about.basket = str(ObjectId())
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
    except (NotReachable, KafkaException) as error:
        note(f"without the topics: {error}")  # the databases alone tell most of it
    moments.sort(key=lambda moment: moment.at)
    if json:
        show_json([moment.as_json() for moment in moments])
    elif moments:
        show_table(("time", "where", "what"), ((moment.time, moment.where, moment.what) for moment in moments))
    if not moments:
        note(f"nothing is known of basket {basket}")
        raise typer.Exit(CHECK_FAILED)
