"""`orders replay`: deliver recorded events again, in any order and number, and report what that changed."""

import random
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from operate import epochs
from operate.cli.options import AllEpochs, Concurrency, DryRun, Json, Rate, To, ToUrl, choose, destination, seconds
from operate.cli.output import CHECK_FAILED, note, progress, show_json, show_lines
from operate.difference import Scope, States
from operate.errors import WrongUse
from operate.replay import LISTED, Comparison, Plan, Replayed, wait_for_consumers
from operate.running import RunningShop
from wire.recording import Recording

_SHOWN: Final = 10  # differences in text; a person reads no more, and JSON has up to LISTED


def replay(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Recorded events.")],
    to: To = None,
    to_url: ToUrl = None,
    twice: Annotated[bool, typer.Option("--twice", help="Deliver the whole file twice.")] = False,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Shuffle the events.")] = False,
    drop: Annotated[float, typer.Option(min=0, max=1, help="Skip each delivery with this probability.")] = 0,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Double each delivery with this probability.")] = 0,
    concurrency: Concurrency = 50,
    rate: Rate = None,
    seed: Annotated[int | None, typer.Option(help="Random seed; the same seed gives the same deliveries.")] = None,
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
            help="How long to wait, before and after, until the consumers have read the topics; 0s for no wait.",
        ),
    ] = 60.0,
    resend_paused: Annotated[
        bool, typer.Option("--resend-paused", help="Resend is not running: compare everything.")
    ] = False,
    all_epochs: AllEpochs = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Re-deliver recorded events with identical ids, bytes and retry policy, then report what changed.

    Counted from the state before and after, and from the answers: applied (an effect that was not there), changed
    nothing, declined, rejected (for good), failed (given up after retries), retried.

    With --expect-noop the documents that the events touch are compared, field by field, whatever was answered. Resend
    is excluded: the field it claims baskets by is not compared, and a basket that became due for it meanwhile is
    skipped and reported, unless --resend-paused is given. No customer should order as one of the same users at the same
    time.

    Events of an older epoch, emitted before the databases were restored, are refused by every consumer: they are
    counted, and skipped unless --all-epochs is given. When it is interrupted, or the target is gone, it reports how
    much was delivered.

    --expect names a YAML file with some of the fields of the --json output, such as {rejected: 0, applied: 12}.

    Exit code 1 when the outcome is not the expected one, or with --expect-noop when something changed, a delivery
    failed, or none was accepted.

    Example: orders replay run.ndjson --to billing-handler --twice --shuffle --expect-noop
    """
    running: RunningShop = ctx.obj
    target, recording = destination(running, to, to_url), Recording(file)
    wanted = _expectation(expect)
    seed = random.randrange(2**32) if seed is None else seed  # noqa: S311 - nobody has to be unable to guess it
    plan = Plan(seed, twice=twice, shuffle=shuffle, drop=drop, duplicate=duplicate)
    with running.databases() as databases:
        scope = Scope()
        chosen = choose(recording, epochs.of_consumer(databases, to, note), all_epochs=all_epochs, about=scope.add)
        deliveries = plan.deliveries(chosen.numbers)
        replayed = Replayed(target, len(deliveries), chosen, seed)
        if dry_run:
            would = f"would deliver {len(deliveries)} of {chosen.total} events to {target.url}, by seed {seed}"
            _show(replayed, [would], replayed.as_json(), json=json)
            return
        with closing(States(databases, scope, everything=everything)) as states:
            try:
                _wait(running, wait)
                with progress("state before"):
                    states.take("before")
                with progress("delivering", len(deliveries)) as step:
                    events = (recording[each] for each in deliveries)
                    replayed.deliver(events, concurrency=concurrency, rate=rate, step=step)
                _wait(running, wait)
                with progress("state after"):
                    states.take("after")
            except BaseException:
                if target.begun:
                    _show(replayed, _stopped(replayed), replayed.as_json(stopped=True), json=json)
                raise
            due_for_resend = 0 if resend_paused else states.exclude_resent(databases.now())
            replayed.compare(states, due_for_resend, documents=expect_noop)
    _show(replayed, _done(replayed), replayed.as_json(), json=json)
    _check(replayed, wanted, expect_noop=expect_noop)


def _wait(running: RunningShop, limit_s: float) -> None:
    if limit_s:
        with progress("waiting for the consumers"):
            wait_for_consumers(running.topics(), limit_s)


def _expectation(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    import yaml

    try:
        wanted = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise WrongUse(f"{file} is not YAML: {error}") from error
    if not isinstance(wanted, dict):
        raise WrongUse(f"{file} must hold fields of the --json output, such as applied: 12")
    return wanted


def _check(replayed: Replayed, wanted: Mapping[str, Any], *, expect_noop: bool) -> None:
    """End with exit code 1 when the outcome is not the expected one, saying why."""
    complaints = list(replayed.complaints(wanted, expect_noop=expect_noop))
    for complaint in complaints:
        note(complaint)
    if complaints or (replayed.comparison and replayed.comparison.changed_documents):
        raise typer.Exit(CHECK_FAILED)


# --- showing ---------------------------------------------------------------------------------------------------------


def _show(replayed: Replayed, lines: Iterator[str] | list[str], as_json: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(as_json)
        return
    show_lines(lines)
    if replayed.chosen.left_out:
        show_lines([f"skipped {replayed.chosen.left_out} events of an older epoch"])


def _what(replayed: Replayed) -> str:
    events, url = replayed.chosen.total, replayed.target.url
    return f"{replayed.total} deliveries of {events} events to {url}, by seed {replayed.seed}"


def _stopped(replayed: Replayed) -> Iterator[str]:
    yield f"stopped after {replayed.answered} of {_what(replayed)}"
    if replayed.unanswered:
        yield f"  {replayed.unanswered} more were on their way: whether they were taken is not known"
    yield "  the state was not compared; it is safe to run the same replay again"
    yield _counts(replayed.answers)
    yield from _reasons(replayed)


def _done(replayed: Replayed) -> Iterator[str]:
    yield _what(replayed)
    yield f"in {replayed.seconds:.1f} s, {replayed.total / (replayed.seconds or 0.001):.0f} a second"
    yield _counts(replayed.counts)
    yield from _reasons(replayed)
    if replayed.comparison is not None:
        yield from _compared(replayed.comparison)


def _counts(counts: Mapping[str, int]) -> str:
    return "  " + "   ".join(f"{name} {number}" for name, number in counts.items())


def _reasons(replayed: Replayed) -> Iterator[str]:
    return (f"  {number} x {reason}" for reason, number in replayed.frequent_reasons.items())


def _compared(found: Comparison) -> Iterator[str]:
    if found.due_for_resend:
        yield f"{found.due_for_resend} baskets became due for resend meanwhile; they and their users are skipped"
    yield f"before  sha256 {found.before}  {found.documents} documents"
    yield f"after   sha256 {found.after}"
    if not found.changed_documents:
        yield "nothing changed"
        return
    yield f"{found.changed_documents} documents changed"
    for difference in found.differences[:_SHOWN]:
        yield f"\n{difference.title}: {difference.meaning}"
        for name, old, new in difference.fields:
            yield f"  {name}: {old or '(absent)'} -> {new or '(absent)'}"
    if found.changed_documents > _SHOWN:
        yield f"\nand {found.changed_documents - _SHOWN} more; --json lists up to {LISTED}"
