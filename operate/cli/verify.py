"""`orders verify`: prove that everybody was charged once, and repair what events can repair."""

import getpass
import socket
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
from bson import ObjectId
from pymongo.errors import OperationFailure

from operate import actions, epochs
from operate.audit import REMEDIES, Problem
from operate.cli.failures import without_topology
from operate.cli.options import Json, seconds
from operate.cli.output import CHECK_FAILED, count, note, progress, show_json, show_lines, show_table
from operate.databases import Databases
from operate.errors import WrongUse
from operate.running import RunningShop
from operate.verify import (
    Look,
    after_repair,
    check_that_all_is_there,
    check_that_somebody_was_there,
    repairs,
    send,
)

_SHOWN: Final = 20
_LISTED: Final = 10_000  # problems checked again, and listed; where there are more, one look is enough


def verify(
    ctx: typer.Context,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    older_than: Annotated[
        float, typer.Option(parser=seconds, metavar="AGE", help="Ignore what is newer: it may still be on its way.")
    ] = 120.0,
    archives: Annotated[
        bool,
        typer.Option("--audit", help="Also add up the archives, entry by entry; do not trust their totals."),
    ] = False,
    grace: Annotated[
        float,
        typer.Option(parser=seconds, metavar="TIME", help="How long to wait before a problem is checked again."),
    ] = 5.0,
    again: Annotated[
        bool, typer.Option("--repair", help="Re-send the events that repair problems, then check those users again.")
    ] = False,
    wait: Annotated[
        float, typer.Option(parser=seconds, metavar="TIME", help="With --repair: how long to wait for the effect.")
    ] = 30.0,
    json: Json = False,
) -> None:
    """Check, for every user, that balance = deposits - paid and that the three databases agree.

    Each paid basket has its charge with the same sum, each charge its basket, each declined one its decline; no order
    older than the limit is undecided; each decision has its notification. Every user for whom the three databases
    disagree is listed, with what each says and what can be done. It is safe to run at any time: databases are read one
    after the other, so a problem is checked again after a grace period, and counts only if it is still there.

    --repair re-sends billing's stored decision where orders or notify lacks it, and the PaymentRequested of an ordered
    basket that billing has not decided. Repairs only re-send events through the normal path; nothing is written to what
    they are about. Afterwards each affected user is verified again. Problems that no event can repair are reported.

    That everybody was verified, and how many problems there are, is recorded for `orders status`; where the database's
    user may only read, it says so, and the result is the same.

    Exit code 1 when there is a problem that has not been repaired; 2 when there was nothing to verify.

    Example: orders verify --older-than 2m --audit
    """
    running: RunningShop = ctx.obj
    with running.databases() as databases:
        check_that_all_is_there(running, databases)
        record = _begun(databases) if user is None else None
        look = Look(databases, timedelta(seconds=older_than), archives)
        found = _looked(look, user, grace)
        check_that_somebody_was_there(running, databases, look.totals, user)
        events, repaired = repairs(found) if again else [], 0
        if events:
            if different := epochs.disagreement(look.epochs):
                raise WrongUse(f"nothing was repaired: {different}")
            with progress("repairing", len(events)) as step:
                send(running, events, step)
            found, repaired = after_repair(look, found, wait)
        if record is not None:
            actions.end(databases, record, f"{len(found)} problems", len(found))
    if json:
        show_json(_as_json(look, found, repaired, len(events)))
    else:
        show_lines(_summary(look, repaired, len(events)))
        _show_problems(look, found)
    if found or epochs.disagreement(look.epochs):
        raise typer.Exit(CHECK_FAILED)


def _begun(databases: Databases) -> ObjectId | None:
    """Record that everybody is verified; None where the database's user may only read."""
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    try:
        return actions.begin(databases, actions.VERIFY, who=who, why="orders verify")
    except OperationFailure as error:
        note(f"`orders status` will not know of this verification: {without_topology(error)}")
        return None


def _looked(look: Look, user: str | None, grace_s: float) -> list[Problem]:
    """Return the problems; what looks wrong counts when it still does after a while."""
    begun = time.monotonic()
    with progress("verifying", None if user else look.users()) as step:
        found = look.at_everybody(user, step)
    if found and grace_s and len(found) < _LISTED:
        note(f"{len(found)} problems; checking again in {grace_s:.0f} s")
        time.sleep(grace_s)
        found = look.again(found)
    look.seconds = round(time.monotonic() - begun, 3)
    return found


# --- showing ---------------------------------------------------------------------------------------------------------


def _as_json(look: Look, found: list[Problem], repaired: int, events: int) -> dict[str, Any]:
    return {
        **{name.replace(" ", "_"): number for name, number in look.totals.items()},
        "epochs": {service: epoch.number for service, epoch in look.epochs.items()},
        "seconds": look.seconds,
        "events_sent": events,
        "repaired": repaired,
        "problems": [problem.as_json() for problem in found[:_LISTED]],
    }


def _summary(look: Look, repaired: int, events: int) -> Iterator[str]:
    yield f"{count(look.totals)}; {look.seconds:.1f} s"
    if events:
        yield f"sent {events} events: {repaired} problems repaired"
    if different := epochs.disagreement(look.epochs):
        yield different


def _show_problems(look: Look, found: list[Problem]) -> None:
    if not found:
        checked = f"checked {look.totals['users']} users, {look.totals['baskets']} baskets"
        fine = "no other problems found" if epochs.disagreement(look.epochs) else f"OK: {checked}; no problems found"
        show_lines([fine])
        return
    kinds = Counter(problem.kind for problem in found)
    show_lines([f"{len(found)} problems: {count(kinds)}"])
    columns = ("user", "problem", "basket", "detail", "--repair")
    rows = ((p.user, p.kind, p.about, p.detail, "yes" if p.repair else "no") for p in found[:_SHOWN])
    show_table(columns, rows)
    if len(found) > _SHOWN:
        show_lines([f"and {len(found) - _SHOWN} more; --json lists up to {_LISTED}"])
    show_lines(["", "what can be done"])
    show_table(("problem", "remedy"), ((kind, REMEDIES[kind]) for kind in kinds))
