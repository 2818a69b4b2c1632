"""`orders verify`: prove that everybody was charged once, and repair what events can repair."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from operate import audit, epochs, histories, repair
from operate.audit import REMEDIES, Problem
from operate.cli.options import Json, seconds
from operate.cli.output import CHECK_FAILED, WrongUse, count, note, progress, show_json, show_table
from operate.databases import Databases
from operate.histories import History
from operate.payments import Payment
from operate.places import SERVICES, Places, hosts
from shop.messages import event_id
from shop.state import COLLECTIONS

_SHOWN: Final = 20
_LISTED: Final = 10_000  # problems looked at again, and listed; where there are more, one look is enough
_POLL_S: Final = 1.0
_COUNTED: Final = ("users", "baskets", "paid baskets", "notifications", "deposited", "paid", "balance")


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
    again: Annotated[
        bool, typer.Option("--repair", help="Send again what repairs a problem, and look at its user once more.")
    ] = False,
    wait: Annotated[
        float, typer.Option(parser=seconds, metavar="TIME", help="With --repair: how long it may take.")
    ] = 30.0,
    json: Json = False,
) -> None:
    """Verify, for every user, that balance = deposits - paid and that the three databases tell the same story.

    Each paid basket has its charge with the same sum, each charge its basket, each declined one its decline; no order
    older than the limit is undecided; each decision has its notification. Every user of whom the three databases
    differ is listed, with what each says and what can be done. It can run at any time: databases are read one after
    the other, so what looks wrong is looked at once more after a grace period, and counts only when it is still there.

    --repair sends billing's stored decision once more where orders or notify lacks it, and the PaymentRequested of an
    ordered basket that billing has not decided. Nothing else is ever asked for, and nothing is written to a database.
    Afterwards each user concerned is verified as a whole. What no event can repair is reported.

    Exit code 1 when there is a problem that has not been repaired; 2 when there was nothing to verify.

    Example: orders verify --older-than 2m --audit
    """
    places: Places = ctx.obj
    with Databases(places) as databases:
        _check_that_there_is_something(places, databases)
        look = Look(databases, timedelta(seconds=older_than), archives)
        begun = time.monotonic()
        found = look.at_everybody(user)
        if not look.totals["users"]:
            who = "there is no user" if user is None else f"there is no user {user!r}"
            where = ", ".join(_where(places, databases, service) for service in SERVICES)
            raise WrongUse(f"nothing was verified: {who} in {where}")
        if found and grace and len(found) < _LISTED:
            note(f"{len(found)} problems; looking again in {grace:.0f} s")
            time.sleep(grace)
            found = look.again(found)
        look.seconds = round(time.monotonic() - begun, 3)
        events, repaired = _events(found) if again else [], 0
        if events:
            if different := epochs.disagreement(look.epochs):
                raise WrongUse(f"nothing was repaired: {different}")
            repair.send(places, events)
            found, repaired = _after_repair(look, found, wait)
    _show(look, found, repaired, len(events), json)
    if found or epochs.disagreement(look.epochs):
        raise typer.Exit(CHECK_FAILED)


def _check_that_there_is_something(places: Places, databases: Databases) -> None:
    """Raise WrongUse for a database that is not set up: on the wrong one nothing could ever be wrong."""
    lacking = [
        f"{_where(places, databases, service)} has no collection {', '.join(missing)}"
        for service, missing in _missing(databases).items()
    ]
    if lacking:
        raise WrongUse(
            f"nothing was verified: {'; '.join(lacking)}. Name the databases with ORDERS_DATABASE and its like, or set "
            "them up with python -m shop.setup"
        )


def _missing(databases: Databases) -> dict[str, list[str]]:
    missing: dict[str, list[str]] = {}
    for wanted in COLLECTIONS:
        known = databases.collection(wanted.service, wanted.name).database.list_collection_names()
        if wanted.name not in known and wanted.name != "meta":  # without one it is of epoch 0
            missing.setdefault(wanted.service, []).append(wanted.name)
    return missing


def _where(places: Places, databases: Databases, service: str) -> str:
    name = databases.collection(service, "meta").database.name
    return f"{name} at {hosts(places.mongodb_uris[service])}"


@dataclass
class Look:
    """Looks at users, and what they found in all."""

    databases: Databases
    older_than: timedelta
    archives: bool
    totals: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_COUNTED, 0)))
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.epochs = epochs.read(self.databases)

    def at_everybody(self, user: str | None) -> list[Problem]:
        """Return the problems of all users, or of one, counting everything."""
        found: list[Problem] = []
        settled_by = self._settled_by()
        with progress("verifying", None if user else self._users()) as steps:
            for history in histories.histories(self.databases, user, archives=self.archives):
                self._count(history)
                problems = self._at(history, settled_by)
                if problems and not history.has_archives:  # they say what became of an old basket
                    problems = self.at(history.user)
                found += problems
                steps.done()
        return found

    def at(self, user: str) -> list[Problem]:
        """Return all problems of one user, as they are now."""
        settled_by = self._settled_by()
        history = histories.of_user(self.databases, user, archives=True)
        return [] if history is None else self._at(history, settled_by)

    def again(self, found: Iterable[Problem]) -> list[Problem]:
        """Return those of the problems that are still there."""
        before = set(found)
        users = dict.fromkeys(problem.user for problem in before)
        return [problem for user in users for problem in self.at(user) if problem in before]

    def _settled_by(self) -> Any:
        return self.databases.now() - self.older_than

    def _at(self, history: History, settled_by: Any) -> list[Problem]:
        return list(audit.problems(history, settled_by, self.epochs["orders"].number))

    def _users(self) -> int:
        return int(self.databases.collection("billing", "users").estimated_document_count())

    def _count(self, history: History) -> None:
        account = history.account
        archived = account.get("archived", {})
        self.totals["users"] += 1
        self.totals["baskets"] += len(history.baskets)
        self.totals["paid baskets"] += sum(basket["status"] == "paid" for basket in history.baskets)
        self.totals["notifications"] += len(history.notifications)
        self.totals["deposited"] += audit.total(account.get("deposits", ())) + archived.get("deposited", 0)
        self.totals["paid"] += audit.total(account.get("paid_baskets", ())) + archived.get("paid", 0)
        self.totals["balance"] += account.get("balance", 0)


def _events(found: Iterable[Problem]) -> list[Payment]:
    """Return the events that repair problems, each once."""
    events = (problem.repair for problem in found if problem.repair is not None)
    return list({(type(event), event_id(event)): event for event in events}.values())


def _after_repair(look: Look, found: list[Problem], limit_s: float) -> tuple[list[Problem], int]:
    """Wait until nothing that an event repairs is left; return all problems there are then, and how many were mended.

    Each user concerned is looked at as a whole: what an event led to must be as right as what it was sent for.
    """
    users = {problem.user: None for problem in found if problem.repair is not None}
    untouched = [problem for problem in found if problem.user not in users]
    deadline = time.monotonic() + limit_s
    before: list[Problem] | None = None
    while True:
        now = [problem for user in users for problem in look.at(user)]
        passing = before is None or set(before) != set(now) or any(problem.repair for problem in now)
        if not now or not passing or time.monotonic() > deadline:
            left = untouched + now
            return left, len(set(found) - set(left))
        before = now
        time.sleep(_POLL_S)


# --- showing ---------------------------------------------------------------------------------------------------------


def _show(look: Look, found: list[Problem], repaired: int, events: int, json: bool) -> None:
    if json:
        totals: dict[str, Any] = {name.replace(" ", "_"): number for name, number in look.totals.items()}
        listed = [problem.as_json() for problem in found[:_LISTED]]
        numbers = {service: epoch.number for service, epoch in look.epochs.items()}
        sent = {"events_sent": events, "repaired": repaired}
        show_json({**totals, "epochs": numbers, "seconds": look.seconds, **sent, "problems": listed})
        return
    typer.echo(f"{count(look.totals)}; {look.seconds:.1f} s")
    if events:
        typer.echo(f"sent {events} events: {repaired} problems repaired")
    different = epochs.disagreement(look.epochs)
    if different:
        typer.echo(different)
    if not found:
        typer.echo("OK: no problems found" if not different else "no other problems found")
        return
    kinds = Counter(problem.kind for problem in found)
    typer.echo(f"{len(found)} problems: {count(kinds)}")
    columns = ("user", "problem", "basket", "detail", "--repair")
    rows = ((p.user, p.kind, p.about, p.detail, "yes" if p.repair else "no") for p in found[:_SHOWN])
    show_table(columns, rows)
    if len(found) > _SHOWN:
        typer.echo(f"and {len(found) - _SHOWN} more; --json lists up to {_LISTED}")
    typer.echo("\nwhat can be done")
    show_table(("problem", "remedy"), ((kind, REMEDIES[kind]) for kind in kinds))
