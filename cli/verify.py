"""`orders verify`: prove that everybody was charged once, and repair what events can repair."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import typer

from cli import audit
from cli.audit import History, Problem
from cli.databases import Databases
from cli.options import Json, seconds
from cli.output import CHECK_FAILED, NotReachable, count, note, progress, show_json, show_table
from cli.places import Places
from shop import emission, orders
from shop.errors import Unavailable
from shop.schema.events_pb2 import PaymentRequested

_SHOWN: Final = 20
_LISTED: Final = 10_000  # problems looked at again, and listed; where there are more, one look is enough
_POLL_S: Final = 1.0


def verify(
    ctx: typer.Context,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    older_than: Annotated[
        float, typer.Option(parser=seconds, metavar="AGE", help="What is younger may still be on its way.")
    ] = 120.0,
    archives: Annotated[
        bool, typer.Option("--audit", help="Also add up the archives, entry by entry, rather than trust their totals.")
    ] = False,
    grace: Annotated[
        float,
        typer.Option(parser=seconds, metavar="TIME", help="How long to wait before a problem is looked at once more."),
    ] = 5.0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Request payment again wherever that repairs it, and look again.")
    ] = False,
    wait: Annotated[
        float, typer.Option(parser=seconds, metavar="TIME", help="With --repair: how long it may take.")
    ] = 30.0,
    json: Json = False,
) -> None:
    """Verify, for every user, that balance = deposits - paid and that the three databases tell the same story.

    Each paid basket has its charge with the same sum, each charge its basket; no order older than the limit is
    undecided; each decision has its notification. It can run at any time: databases are read one after the other, so
    what looks wrong is looked at once more after a grace period, and counts only when it is still there.

    --repair sends the PaymentRequested of an undecided, paid or declined basket to the topic once more; billing, which
    never decides twice, repeats its decision, and the others catch up. Nothing is written to a database. What no event
    can repair, such as the lost notification of an older decline, or a paid basket without a charge, is reported.

    Exit code 1 when there is a problem that has not been repaired.

    Example: orders verify --older-than 2m --audit
    """
    places: Places = ctx.obj
    with Databases(places) as databases:
        look = Look(databases, timedelta(seconds=older_than), archives)
        begun = time.monotonic()
        found = look.at_everybody(user)
        if found and grace and len(found) < _LISTED:
            note(f"{len(found)} problems; looking again in {grace:.0f} s")
            time.sleep(grace)
            found = look.again(found)
        look.seconds = round(time.monotonic() - begun, 3)
        repaired = 0
        if repair and (events := _events(found)):
            asyncio.run(_emit(places, events))
            still = _wait(look, found, wait)
            repaired, found = len(found) - len(still), still
    _show(look, found, repaired, len(events) if repair else 0, json)
    if found:
        raise typer.Exit(CHECK_FAILED)


@dataclass
class Look:
    """Looks at users, and what they found in all."""

    databases: Databases
    older_than: timedelta
    archives: bool
    totals: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def at_everybody(self, user: str | None) -> list[Problem]:
        """Return the problems of all users, or of one, counting everything."""
        found: list[Problem] = []
        now = self.databases.now()
        with progress("verifying", None if user else self._users()) as steps:
            for history in audit.histories(self.databases, user, archives=self.archives):
                self._count(history)
                found += self._at(history, now)
                steps.done()
        return found

    def again(self, found: Iterable[Problem]) -> list[Problem]:
        """Return those of the problems that are still there."""
        before, now = set(found), self.databases.now()
        still = []
        for user in dict.fromkeys(problem.user for problem in before):
            for history in audit.histories(self.databases, user, archives=self.archives):
                still += [problem for problem in self._at(history, now) if problem in before]
        return still

    def _at(self, history: History, now: datetime) -> list[Problem]:
        return list(audit.problems(history, now, self.older_than, archives=self.archives))

    def _users(self) -> int:
        return int(self.databases.collection("billing", "users").estimated_document_count())

    def _count(self, history: History) -> None:
        account = history.account
        archived = account.get("archived", {})
        self.totals["users"] += 1
        self.totals["baskets"] += len(history.baskets)
        self.totals["paid baskets"] += sum(basket["status"] == "paid" for basket in history.baskets)
        self.totals["notifications"] += len(history.notifications)
        self.totals["deposited"] += sum(each["sum"] for each in account.get("deposits", ())) + archived.get(
            "deposited", 0
        )
        self.totals["paid"] += sum(each["sum"] for each in account.get("paid_baskets", ())) + archived.get("paid", 0)
        self.totals["balance"] += account.get("balance", 0)


def _events(found: Iterable[Problem]) -> list[PaymentRequested]:
    """Return the events that repair problems, each once."""
    baskets = {problem.basket["_id"]: problem.basket for problem in found if problem.basket is not None}
    return [orders.payment_requested(basket) for basket in baskets.values()]


async def _emit(places: Places, events: list[PaymentRequested]) -> None:
    """Send events to the topic, as the function that first sent them did."""
    os.environ["K_SINK"] = places.sink("payments")  # as a SinkBinding would
    try:
        with progress("repairing", len(events)) as steps:
            for event in events:
                await emission.emit(event)
                steps.done()
    except Unavailable as error:
        raise NotReachable(f"{places.sink('payments')}: {error}") from error
    finally:
        await emission.close()


def _wait(look: Look, found: list[Problem], limit_s: float) -> list[Problem]:
    """Wait until nothing that an event repairs is left, and return what is left in the end."""
    deadline = time.monotonic() + limit_s
    while True:
        still = look.again(found)
        if not any(problem.basket for problem in still) or time.monotonic() > deadline:
            return still
        time.sleep(_POLL_S)


def _show(look: Look, found: list[Problem], repaired: int, events: int, json: bool) -> None:
    if json:
        totals: dict[str, Any] = {name.replace(" ", "_"): number for name, number in look.totals.items()}
        listed = [problem.as_json() for problem in found[:_LISTED]]
        show_json({**totals, "seconds": look.seconds, "events_sent": events, "repaired": repaired, "problems": listed})
        return
    typer.echo(f"{count(look.totals)}; {look.seconds:.1f} s")
    if events:
        typer.echo(f"requested payment again for {events} baskets: {repaired} problems repaired")
    if not found:
        typer.echo("everything is as it must be")
        return
    kinds = Counter(problem.kind for problem in found)
    typer.echo(f"{len(found)} problems: {count(kinds)}")
    columns = ("user", "problem", "basket", "detail", "--repair")
    rows = ((p.user, p.kind, p.about, p.detail, "yes" if p.basket else "no") for p in found[:_SHOWN])
    show_table(columns, rows)
    if len(found) > _SHOWN:
        typer.echo(f"and {len(found) - _SHOWN} more; --json lists up to {_LISTED}")
