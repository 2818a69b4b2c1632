"""Measure the functions beside others, in rounds that take turns: `make bench`."""

import argparse
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import uvloop

from bench import baseline, cold_start, duplicate, growth, one_function, spans, whole_path
from bench.figures import Result
from bench.report import Report
from bench.rounds import WHOLE_MINUTES, Plan
from local.program import Stopped, aside, end_early, run, say
from local.servers.kafka_program import installed
from tests.support.options import Parser, minutes, whole

_MOST_MINUTES: Final = 7 * 24 * 60
_MOST_ROUNDS: Final = 1000

PARTS: Final = ("a", "b", "c", "d", "e", "f", "g")

_ALONE: Final[dict[str, Callable[[Plan, list[Result]], Awaitable[None]]]] = {
    "b": one_function.measure,
    "d": growth.measure,
    "e": cold_start.measure,
    "f": duplicate.measure,
    "g": spans.measure,
}


async def _measure(plan: Plan, parts: list[str], revision: str | None, report: Report) -> None:
    """Measure one part after the other. One that fails is told of, and keeps no other from being measured."""
    await aside(lambda: installed(say))

    async def whole(plan: Plan, results: list[Result]) -> None:
        tree = await aside(lambda: _tree(plan, revision, report)) if revision and "a" in parts else None
        await whole_path.measure(plan, revision, tree, peers="c" in parts, results=results)

    asked = {"a, c": whole} if {"a", "c"} & set(parts) else {}
    for part, measure in {**asked, **{part: _ALONE[part] for part in _ALONE if part in parts}}.items():
        try:
            await measure(plan, report.results)
        except Exception as failure:  # noqa: BLE001 - whatever it was, the other parts do not depend on it
            traceback.print_exception(failure)
            report.failures.append(f"Part {part} failed: {type(failure).__name__}: {failure}")
            say(report.failures[-1])
        report.write()


def _tree(plan: Plan, revision: str, report: Report) -> Path | None:
    """Return the folder of what is compared with; without one, as in a copy without git, the others are measured."""
    try:
        return baseline.tree(revision, plan.say)
    except baseline.NoBaselineError as failure:
        report.failures.append(f"There is no {revision} to compare with: {failure}")
        return None


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        raise argparse.ArgumentTypeError(
            f"there is no part {', '.join(map(repr, unknown))}: choose among {','.join(PARTS)}"
        )
    return parts


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options. Ends with one line and exit status 2 when one of them cannot be."""
    parser = Parser(description="Measure the functions beside others, in rounds that take turns")
    parser.add_argument(
        "--minutes", type=minutes(_MOST_MINUTES), default=WHOLE_MINUTES, help="how long all parts may take"
    )
    parser.add_argument(
        "--rounds", type=whole(1, _MOST_ROUNDS), default=6, help="how often each is played, while the time lasts"
    )
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help="which parts, such as a,b")
    parser.add_argument("--baseline", default="", help="a revision of this project to compare the whole path with")
    parser.add_argument(
        "--report", type=Path, default=Path(__file__).parent / "report.md", help="where to write; plots go beside it"
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, and write the report, of what there was when a signal has ended it. Exit 1 when a part has failed."""
    asked = options()
    uvloop.install()
    report = Report(asked.report)
    say(report.conditions.text())
    try:
        run(_measure(Plan(asked.minutes, asked.rounds, say), asked.parts, asked.baseline or None, report), say)
    except Stopped as stopped:
        report.failures.append(f"Ended early: {stopped}. This is what there was until then.")
        report.write()
        end_early(stopped, f"{report.file} tells what there was until then.")
    say(f"Done: {report.file}")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
