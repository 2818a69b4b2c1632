"""Say what came of a verb: a table or JSON on standard output, progress on standard error, and an exit code for CI.

Exit code 1 says that a check failed, and nothing else: what goes wrong otherwise is 2, in one line without a trace.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import typer

CHECK_FAILED: Final = 1
WRONG_USE: Final = 2
"""Also for what cannot be reached: the result is unknown."""


def show_json(value: object) -> None:
    """Print JSON; times and ids as text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_lines(lines: Iterable[str]) -> None:
    """Print lines of text."""
    for line in lines:
        typer.echo(line)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, each column as wide as its widest cell."""
    lines = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        show_lines(["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()])


def note(message: str) -> None:
    """Tell the reader something beside the result."""
    typer.echo(message, err=True)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal while long work goes on, nothing elsewhere; each call of what it yields is a step."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # here, for its import takes time, and a job has no terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def count(counts: Mapping[str, int]) -> str:
    """Write counts in a line: `3 paid, 1 declined`."""
    return ", ".join(f"{number} {name}" for name, number in counts.items())
