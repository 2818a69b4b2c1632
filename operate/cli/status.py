"""`orders status`: do orders get through, and if not, why."""

from collections.abc import Iterator

import typer

from operate.cli.options import Json
from operate.cli.output import CHECK_FAILED, count, show_json, show_lines, show_table
from operate.running import RunningShop
from operate.status import Status, decided, waiting
from shop.messages import rfc3339


def status(ctx: typer.Context, json: Json = False) -> None:
    """Say whether orders get through, and if not, why.

    What is undecided and since when, what was decided in the last ten minutes, how far each consumer is, which dead
    letters wait, what the last `orders verify` found, and the cause in words of what is wrong. One look takes less than
    a second while all parts answer; a part that is away is named as the cause. The health of consumers is asked when
    their addresses are known; the other functions scale to zero, and are left alone.

    Exit code 0 when nothing is wrong, 1 with the causes, the deepest first.

    Example: orders status --json
    """
    running: RunningShop = ctx.obj
    with running.watch() as watch:
        found = watch.look()
    if json:
        show_json(found.as_json())
    else:
        show_lines(_summary(found))
        _show_troubles(found)
    if found.troubles:
        raise typer.Exit(CHECK_FAILED)


def _summary(found: Status) -> Iterator[str]:
    orders = found.orders
    if orders is not None:
        yield f"baskets         {count(orders.baskets)}"
        oldest = f", the oldest for {orders.oldest_s:.0f} s; {orders.stuck} resent" if orders.undecided else ""
        yield f"undecided       {orders.undecided}{oldest}"
    if found.decided is not None:
        yield f"decided         {decided(found)}"
    for name, group in (found.groups or {}).items():
        there = "1 member" if group.members == 1 else f"{group.members} members"
        yield f"{name:<15} {waiting(found, group)}; {there}"
    if found.letters is not None:
        many = {f"{function} {code}": number for (function, code), number in found.waiting.items()}
        yield f"dead letters    {count(many) or 'none waits'}"
    if orders is not None:
        last = orders.verified
        said = f"{last.problems} problems at {rfc3339(last.at)}" if last is not None else "never"
        yield f"verified        {said}"


def _show_troubles(found: Status) -> None:
    if not found.troubles:
        show_lines([f"OK; {found.seconds:.1f} s"])
        return
    show_lines([""])
    show_table(("cause", "what is wrong"), ((each.cause, each.says) for each in found.troubles))
    show_lines(["", "what can be done"])
    remedies = {each.cause: each.remedy for each in found.troubles}
    show_table(("cause", "remedy"), remedies.items())
