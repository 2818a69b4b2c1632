"""`orders dlq`: see what died and why, what has healed since, and redrive the rest to the consumer that failed.

Redrive can be interrupted anywhere and run again, by anybody: each replay is counted in the topic *before* the event is
sent, so no crash makes more of them than --max-replays; what was taken shows in the databases, as healed. Only what was
refused counts for that bound, and what nobody knows the end of: an answer of "later" is taken back from the count.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

import typer

from operate import letters
from operate.cli.options import Json, Rate, Since, since_ms
from operate.cli.output import CHECK_FAILED, NotReachable, WrongUse, count, note, progress, show_json, show_table
from operate.letters import Letter
from operate.places import Places
from operate.sending import Answer, Pace, Target, send_all, together
from shop.messages import rfc3339, to_json
from wire.event import Event
from wire.recording import line

app = typer.Typer(no_args_is_help=True, help="List, show, redrive and park dead letters.")

_FIELDS: Final[dict[str, Callable[[Letter], str]]] = {
    "consumer": lambda letter: letter.consumer,
    "code": lambda letter: letter.code,
    "reason": lambda letter: letter.reason,
    "id": lambda letter: letter.event.text("id"),
    "type": lambda letter: letter.event.text("type"),
    "user": lambda letter: letter.about.user if letter.about else "",
    "basket": lambda letter: letter.about.basket if letter.about else "",
}
_CONDITION: Final = re.compile(r"(\w+)([=~])(.*)", re.DOTALL)

Where = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Only letters of which this holds: field=value, or field~part of it. Fields: {', '.join(_FIELDS)}. "
        "Given several times, all must hold."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]


def _chosen(found: Iterable[Letter], where: Sequence[str] | None) -> list[Letter]:
    conditions = []
    for text in where or ():
        match = _CONDITION.fullmatch(text)
        if match is None or match[1] not in _FIELDS:
            raise WrongUse(f"{text!r} is no condition: write field=value or field~part, with {', '.join(_FIELDS)}")
        conditions.append((_FIELDS[match[1]], match[2], match[3]))
    return [
        letter
        for letter in found
        if all(value == read(letter) if how == "=" else value in read(letter) for read, how, value in conditions)
    ]


# --- list, show ------------------------------------------------------------------------------------------------------


@app.command("list")
def list_(ctx: typer.Context, where: Where = None, since: Since = None, json: Json = False) -> None:
    """Group the dead letters by consumer and reason, and say how many have healed since.

    A letter has healed when the database of the consumer that refused it has the event's effect by now, with the same
    content: because resend asked again, or because it was redriven. It is outdated when it was emitted before the
    databases were restored: nobody takes it any more, and what is still open is asked for again. What is parked stays
    so; the others wait for somebody.

    Example: orders dlq list --since 1d
    """
    groups: dict[tuple[str, str, str], list[Letter]] = {}
    for letter in _chosen(letters.read(ctx.obj, since_ms(since)), where):
        groups.setdefault((letter.consumer, letter.code, letter.kind), []).append(letter)
    rows = [_group(*key, group) for key, group in sorted(groups.items(), key=lambda item: -len(item[1]))]
    if json:
        show_json(rows)
    elif rows:
        show_table(list(rows[0]), (list(row.values()) for row in rows))
    else:
        typer.echo("no dead letters")


def _group(consumer: str, code: str, kind: str, group: list[Letter]) -> dict[str, Any]:
    states = Counter(letter.state for letter in group)
    return {
        "consumer": consumer,
        "code": code or "none",
        "letters": len(group),
        **{state: states[state] for state in letters.STATES},
        "last": rfc3339(max(letter.at for letter in group)),
        "reason": kind,
    }


@app.command()
def show(
    ctx: typer.Context,
    letter: Annotated[str, typer.Argument(help="The id of an event, or partition/offset.")],
    json: Json = False,
) -> None:
    """Show one dead letter: the event, its data, who refused it and why, and what has become of it since.

    Example: orders dlq show 66b1f0c2a5d3e4f601020304.1
    """
    found = [each for each in letters.read(ctx.obj) if letter in (each.place, each.event.text("id"))]
    if json:
        show_json([_described(each) for each in found])
    for each in () if json else found:
        for name, value in _described(each).items():
            typer.echo(f"{name:<10} {value}")
        typer.echo("")
    if not found:
        typer.echo(f"there is no dead letter {letter}", err=True)
        raise typer.Exit(CHECK_FAILED)


def _described(letter: Letter) -> dict[str, Any]:
    return {
        "consumer": letter.consumer,
        "state": letter.state + (f": {said}" if (said := _why(letter)) else ""),
        "code": letter.code or "none",
        "reason": letter.reason,
        "at": rfc3339(letter.at),
        "times": letter.times,
        "replays": letter.replays,
        "refusals": letter.refusals,
        "place": letter.place,
        "data": to_json(letter.about) if letter.about else None,
        "event": line(letter.event),
    }


def _why(letter: Letter) -> str:
    """Say why a letter is in its state, when that is known."""
    if letter.state == "outdated" and letter.restored is not None:
        epoch = letter.about.epoch if letter.about else 0
        return f"of epoch {epoch}, and the database is of epoch {letter.restored}"
    return letter.parked


# --- redrive, park ---------------------------------------------------------------------------------------------------


@app.command()
def redrive(
    ctx: typer.Context,
    where: Where = None,
    since: Since = None,
    rate: Rate = None,
    limit: Annotated[int | None, typer.Option("--max", min=1, help="Redrive so many letters at most.")] = None,
    max_replays: Annotated[int, typer.Option(min=1, help="Park a letter that was refused so often again.")] = 3,
    parked: Annotated[
        bool, typer.Option("--parked", help="Also letters that are parked, their count begun anew.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Letters in flight at once.")] = 8,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Send dead letters again, each only to the consumer that failed (knativeerrordest), under the same id.

    Letters that have healed, are parked, or were emitted before the databases were restored, are left alone. Each
    replay is counted (extension replaycount) in the dead letters before the event is sent, so an interrupted redrive
    is continued by running it again, and no letter is refused more than --max-replays times. A consumer that does not
    answer, or answers "later", ends the redrive of its letters: they wait until it is well, and that try is not
    counted.

    Exit code 1 when a letter was refused again, was parked, or still waits. When it is interrupted, it says what became
    of the letters until then.

    Example: orders dlq redrive --where consumer=notify-handler --since 1d --rate 50
    """
    places: Places = ctx.obj
    found = _chosen(letters.read(places, since_ms(since)), where)
    if parked:
        found = [replace(letter, parked="", replays=0, later=0) if letter.parked else letter for letter in found]
    todo = [letter for letter in found if letter.waiting][:limit]
    outdated = [letter for letter in found if letter.state == "outdated"]
    unknown = {letter.consumer for letter in todo if not letter.known}
    if unknown:
        raise WrongUse(f"where is {', '.join(sorted(unknown))}? Set FUNCTION_URL, or leave these out with --where")
    if dry_run:
        plan = Counter(f"to {letter.consumer}" for letter in todo)
        show_json(plan) if json else typer.echo(f"would redrive {count(plan) or 'nothing'}")
        _tell_of(outdated)
        return
    outcome = Redriven(outdated=len(outdated))
    try:
        asyncio.run(_redrive(places, todo, max_replays, rate, concurrency, outcome))
    except BaseException:
        outcome.show(json, stopped_of=len(todo))
        raise
    outcome.show(json)
    _tell_of(outdated)
    if outcome.refused or outcome.parked or outcome.left:
        raise typer.Exit(CHECK_FAILED)


def _tell_of(outdated: Sequence[Letter]) -> None:
    """Say which letters are left alone because of a restore."""
    for restored, number in Counter(letter.restored for letter in outdated).items():
        when = rfc3339(restored.restored_at) if restored and restored.restored_at else "an unknown time"
        note(f"{number} left alone: emitted before the restore of {when}; what is still open is asked for again")


@dataclass
class Redriven:
    """What became of the letters."""

    delivered: int = 0
    refused: int = 0
    parked: int = 0
    left: int = 0
    outdated: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        counts = {name: getattr(self, name) for name in ("delivered", "refused", "parked", "left", "outdated")}
        return {**counts, "reasons": dict(self.reasons)}

    def show(self, json: bool, *, stopped_of: int | None = None) -> None:
        """Print it; when it stopped halfway, of how many letters. What is not counted may have been on its way."""
        counts = self.as_json()
        if json:
            show_json(counts if stopped_of is None else {**counts, "stopped": True, "letters": stopped_of})
            return
        reasons = counts.pop("reasons")
        stopped = "" if stopped_of is None else f"stopped; of {stopped_of} were "
        typer.echo(stopped + count(counts))
        for reason, number in reasons.items():
            typer.echo(f"  {number} x {reason}")


async def _redrive(
    places: Places, todo: list[Letter], max_replays: int, rate: float | None, concurrency: int, outcome: Redriven
) -> None:
    """Redrive letters, one consumer after the other, and count what became of them."""
    with progress("redriving", len(todo)) as steps:
        async with Target(places.sink(letters.TOPIC)) as graveyard:
            for consumer in dict.fromkeys(letter.consumer for letter in todo):
                async with Target(places.function(consumer)) as target:
                    redriving = Redriving(target, graveyard, max_replays, Pace(rate), outcome, steps.done)
                    waiting = iter([letter for letter in todo if letter.consumer == consumer])
                    await together(redriving.work(waiting) for _ in range(concurrency))


@dataclass
class Redriving:
    """The redrive of one consumer's letters."""

    target: Target
    graveyard: Target
    max_replays: int
    pace: Pace
    outcome: Redriven
    done: Callable[[], None]
    unwell: bool = False
    """Whether the consumer has asked for its events later: then the others are left for another time."""

    async def work(self, waiting: Iterator[Letter]) -> None:
        """Redrive letters until there are no more."""
        for letter in waiting:
            await self.pace.wait()
            if self.unwell:
                self.outcome.left += 1
            else:
                await self._redrive(letter)
            self.done()

    async def _redrive(self, letter: Letter) -> None:
        """Count the replay, send the event, and note why it was refused; park the letter after the last time."""
        if letter.refusals >= self.max_replays:
            await self._note(letters.mark(letter, parked=f"refused {letter.refusals} times"))
            self.outcome.parked += 1
            return
        letter = replace(letter, replays=letter.replays + 1)
        await self._note(letters.mark(letter))
        answer = await self.target.send(letters.to_redrive(letter))
        if answer.accepted:
            self.outcome.delivered += 1
            return
        self.outcome.reasons[answer.reason] += 1
        if answer.later:
            self.unwell = True
            self.outcome.left += 1
            await self._note(letters.mark(replace(letter, later=letter.later + 1)))
            return
        last = letter.refusals >= self.max_replays
        parked = f"refused {letter.refusals} times" if last else ""
        await self._note(letters.mark(letter, code=str(answer.status), reason=answer.reason, parked=parked))
        self.outcome.refused += 1
        self.outcome.parked += last

    async def _note(self, mark: Event) -> None:
        answer = await self.graveyard.send(mark)
        if not answer.accepted:
            raise NotReachable(
                f"the dead letters at {self.graveyard.url} take no mark: {answer.status} {answer.reason}"
            )


@app.command()
def park(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; it is shown with the letter.")],
    where: Where = None,
    since: Since = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Lay dead letters to rest: redrive leaves them alone from then on, and list counts them apart.

    Parking is a mark in the dead letters' own topic: everybody sees it, and no second topic has to be deployed.

    Example: orders dlq park --where 'reason~it was edited' --reason 'forged, reported to security'
    """
    places: Places = ctx.obj
    if not re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?", reason):
        raise WrongUse("--reason must have 1 to 200 visible ASCII characters: it becomes an attribute of an event")
    todo = [letter for letter in _chosen(letters.read(places, since_ms(since)), where) if letter.waiting]
    if not dry_run:
        marks = [letters.mark(letter, parked=reason) for letter in todo]
        refused: list[Answer] = []

        def told(_: Event, answer: Answer) -> None:
            if not answer.accepted:
                refused.append(answer)

        if marks:
            asyncio.run(send_all(Target(places.sink(letters.TOPIC)), marks, told, concurrency=8))
        if refused:
            raise NotReachable(f"{len(refused)} marks were not taken: {refused[0].status} {refused[0].reason}")
    verb = "would park" if dry_run else "parked"
    show_json({verb.replace(" ", "_"): len(todo)}) if json else typer.echo(f"{verb} {len(todo)}")
