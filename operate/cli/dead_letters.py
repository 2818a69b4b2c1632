"""`orders dlq`: see what died and why, what has healed since, and redrive the rest to the consumer that failed."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import typer

from operate import letters
from operate.cli.options import DryRun, Json, Rate, Since, since_ms
from operate.cli.output import CHECK_FAILED, count, note, progress, show_json, show_lines, show_table
from operate.errors import WrongUse
from operate.letters import FIELDS, Letter
from operate.redrive import PARKING, Bounds, Redriven
from operate.redrive import park as park_letters
from operate.redrive import redrive as redrive_letters
from operate.running import RunningShop
from shop.messages import rfc3339, to_json
from wire.recording import line

app = typer.Typer(no_args_is_help=True, help="List, show, redrive and park dead letters.")

_CONDITION: Final = re.compile(r"(\w+)([=~])(.*)", re.DOTALL)

Where = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Only letters that match: field=value, or field~substring. Fields: {', '.join(FIELDS)}. "
        "If given several times, all must match."
    ),
]


def _chosen(found: Iterable[Letter], where: Sequence[str] | None) -> list[Letter]:
    conditions = []
    for text in where or ():
        match = _CONDITION.fullmatch(text)
        if match is None or match[1] not in FIELDS:
            fields = ", ".join(FIELDS)
            raise WrongUse(f"invalid --where {text!r}: use field=value or field~substring; fields: {fields}")
        conditions.append((FIELDS[match[1]], match[2], match[3]))
    return [
        letter
        for letter in found
        if all(value == read(letter) if how == "=" else value in read(letter) for read, how, value in conditions)
    ]


# --- list, show ------------------------------------------------------------------------------------------------------


@app.command("list")
def list_(ctx: typer.Context, where: Where = None, since: Since = None, json: Json = False) -> None:
    """Group the dead letters by consumer, error code and reason, and count how many have healed since.

    A letter has healed when the database of the consumer that refused it has the event's effect by now, with the same
    content: because resend asked again, or because it was redriven. It is outdated when it was emitted before the
    databases were restored: no consumer accepts it, and open orders are requested again. Parked letters stay parked;
    all others are waiting.

    Example: orders dlq list --since 1d
    """
    running: RunningShop = ctx.obj
    groups: dict[tuple[str, str, str, str], list[Letter]] = {}
    for letter in _chosen(running.letters(since_ms(since)), where):
        groups.setdefault((letter.consumer, letter.code, letter.error, letter.kind), []).append(letter)
    rows = [_group(*key, group) for key, group in sorted(groups.items(), key=lambda item: -len(item[1]))]
    if json:
        show_json(rows)
    elif rows:
        show_table(list(rows[0]), (list(row.values()) for row in rows))
    else:
        show_lines(["no dead letters"])


def _group(consumer: str, code: str, error: str, kind: str, group: list[Letter]) -> dict[str, Any]:
    states = Counter(letter.state for letter in group)
    return {
        "consumer": consumer,
        "code": code or "none",
        "letters": len(group),
        **{state: states[state] for state in letters.STATES},
        "last": rfc3339(max(letter.at for letter in group)),
        "error": error or "none",
        "reason": kind,
    }


@app.command()
def show(
    ctx: typer.Context,
    letter: Annotated[str, typer.Argument(help="An event id, or partition/offset.")],
    json: Json = False,
) -> None:
    """Show one dead letter: the event, its data, which consumer refused it and why, and its state now.

    Example: orders dlq show 66b1f0c2a5d3e4f601020304.1
    """
    running: RunningShop = ctx.obj
    found = [each for each in running.letters() if letter in (each.place, each.event.text("id"))]
    if json:
        show_json([_described(each) for each in found])
    for each in () if json else found:
        show_lines([*(f"{name:<10} {value}" for name, value in _described(each).items()), ""])
    if not found:
        note(f"there is no dead letter {letter}")
        raise typer.Exit(CHECK_FAILED)


def _described(letter: Letter) -> dict[str, Any]:
    return {
        "consumer": letter.consumer,
        "state": letter.state + (f": {said}" if (said := _why(letter)) else ""),
        "code": letter.code or "none",
        "error": letter.error or "none",
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
    limit: Annotated[int | None, typer.Option("--max", min=1, help="Redrive at most this many letters.")] = None,
    max_replays: Annotated[int, typer.Option(min=1, help="Park a letter after it was refused this often.")] = 3,
    parked: Annotated[
        bool, typer.Option("--parked", help="Also redrive parked letters; their count starts again at 0.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Letters in flight at the same time.")] = 8,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Send dead letters again, each only to the consumer that failed (knativeerrordest), under the same id.

    Letters that have healed, are parked, or were emitted before the databases were restored are skipped. Each replay is
    counted (extension replaycount) in the dead letters before the event is sent, so an interrupted redrive can be
    continued by running it again, and no letter is refused more than --max-replays times. When a consumer does not
    answer, or answers "later", its other letters are left for the next redrive, and that try is not counted.

    Exit code 1 when a letter was refused again, was parked, or still waits. When it is interrupted, it reports what
    became of the letters until then.

    Example: orders dlq redrive --where consumer=notify-handler --since 1d --rate 50
    """
    running: RunningShop = ctx.obj
    found = _chosen(running.letters(since_ms(since)), where)
    if parked:
        found = [letter.unparked() for letter in found]
    todo = [letter for letter in found if letter.waiting][:limit]
    outdated = [letter for letter in found if letter.state == "outdated"]
    if unknown := {letter.consumer for letter in todo if not letter.known}:
        raise WrongUse(f"where is {', '.join(sorted(unknown))}? Set FUNCTION_URL, or exclude these with --where")
    if dry_run:
        plan = Counter(f"to {letter.consumer}" for letter in todo)
        show_json(plan) if json else show_lines([f"would redrive {count(plan) or 'nothing'}"])
        _note_outdated(outdated)
        return
    redriven = Redriven(outdated=len(outdated))
    with progress("redriving", len(todo)) as step:
        try:
            asyncio.run(redrive_letters(running, todo, Bounds(max_replays, concurrency, rate), redriven, step))
        except BaseException:
            _show_redriven(redriven, json=json, stopped_of=len(todo))
            raise
    _show_redriven(redriven, json=json)
    _note_outdated(outdated)
    if not redriven.is_whole:
        raise typer.Exit(CHECK_FAILED)


def _note_outdated(outdated: Sequence[Letter]) -> None:
    """Say which letters are skipped because of a restore."""
    for restored, number in Counter(letter.restored for letter in outdated).items():
        when = rfc3339(restored.restored_at) if restored and restored.restored_at else "an unknown time"
        note(f"{number} skipped: emitted before the restore of {when}; open orders are requested again")


def _show_redriven(redriven: Redriven, *, json: bool, stopped_of: int | None = None) -> None:
    """Print it; when it stopped halfway, of how many letters. What is not counted may have been on its way."""
    if json:
        stopped = {} if stopped_of is None else {"stopped": True, "letters": stopped_of}
        show_json(redriven.as_json() | stopped)
        return
    of = "" if stopped_of is None else f"stopped; of {stopped_of} were "
    show_lines([of + count(redriven.counts)])
    show_lines(f"  {number} x {reason}" for reason, number in redriven.reasons.items())


@app.command()
def park(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; it is shown with the letter.")],
    where: Where = None,
    since: Since = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Park dead letters so that redrive skips them; list counts them separately.

    Parking is a mark in the dead letters' own topic: everybody sees it, and no second topic has to be deployed.

    Example: orders dlq park --where 'reason~it was edited' --reason 'forged, reported to security'
    """
    running: RunningShop = ctx.obj
    if not PARKING.fullmatch(reason):
        raise WrongUse("--reason must have 1 to 200 visible ASCII characters: it becomes an attribute of an event")
    todo = [letter for letter in _chosen(running.letters(since_ms(since)), where) if letter.waiting]
    if not dry_run:
        park_letters(running, todo, reason)
    verb = "would park" if dry_run else "parked"
    show_json({verb.replace(" ", "_"): len(todo)}) if json else show_lines([f"{verb} {len(todo)}"])
