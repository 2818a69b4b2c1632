"""Measure the functions beside others, in rounds that take turns: `make bench`."""

import argparse
import math
import sys
from pathlib import Path
from typing import Final

import uvloop

from bench import one_function, whole_path
from bench.baseline import NoBaselineError
from bench.customers import AuditError
from bench.figures import Result
from bench.load import LoadError
from bench.report import Conditions, write
from bench.rounds import WHOLE_MINUTES, Plan
from local.program import Stopped, aside, end_early, run, say
from local.servers.kafka_program import installed
from local.servers.parts import PartFailedError

PARTS: Final = ("a", "b")
_REPORT: Final = Path(__file__).parent / "report.md"


async def _measure(plan: Plan, parts: list[str], revision: str | None, results: list[Result]) -> None:
    await aside(lambda: installed(say))
    if "a" in parts:
        await whole_path.measure(plan, revision, results)
    if "b" in parts:
        await one_function.measure(plan, results)


def main() -> None:
    """Measure, and write the report, of what there was when a signal has ended it."""
    parser = argparse.ArgumentParser(description="Measure the functions beside others, in rounds that take turns")
    parser.add_argument("--minutes", type=float, default=WHOLE_MINUTES, help="how long all parts may take")
    parser.add_argument("--rounds", type=int, default=6, help="how often each is played, while the time lasts")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, such as a,b")
    parser.add_argument("--baseline", default="", help="a revision of this project to compare the whole path with")
    parser.add_argument("--report", type=Path, default=_REPORT, help="where to write the report; plots go beside it")
    asked = parser.parse_args()
    if not 0 < asked.minutes < math.inf or asked.rounds < 1:
        parser.error("nothing can be measured in that time")
    parts = asked.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"there is no part {', '.join(unknown)}: choose among {','.join(PARTS)}")
    uvloop.install()
    conditions, results = Conditions.now(), list[Result]()
    say(conditions.text())
    try:
        run(_measure(Plan(asked.minutes, asked.rounds, say), parts, asked.baseline or None, results), say)
        write(asked.report, conditions, results)
        say(f"Done: {asked.report}")
    except (PartFailedError, NoBaselineError, LoadError, AuditError) as failure:
        sys.exit(f"{failure}")
    except Stopped as stopped:
        write(asked.report, conditions, results, note=f"**Ended early: {stopped}.** This is what there was until then.")
        end_early(stopped, f"{asked.report} tells what there was until then.")


if __name__ == "__main__":
    main()
