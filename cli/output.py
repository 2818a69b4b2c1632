"""Say what came of a verb: a table or JSON on standard output, progress on standard error, and an exit code for CI."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
import typer
from confluent_kafka import KafkaException
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

CHECK_FAILED: Final = 1
WRONG_USE: Final = 2
"""Also for what cannot be reached: nothing was found out."""

_errors = Console(stderr=True)


class WrongUse(Exception):
    """The command cannot do this; the text says what to give instead."""


class NotReachable(Exception):
    """MongoDB, Kafka, a sink or a function does not answer."""


class Verbs(TyperGroup):
    """Commands that end with exit code 2 and one line when something cannot be reached or was used wrongly."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except WrongUse as error:
            _fail(str(error))
        except PyMongoError as error:
            _fail(f"MongoDB does not answer: {error}")
        except KafkaException as error:
            _fail(f"Kafka does not answer: {error.args[0].str() if error.args else error}")
        except (NotReachable, aiohttp.ClientError) as error:
            _fail(f"not reachable: {error}")
        except OSError as error:
            _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))


def _fail(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(WRONG_USE)


def show_json(value: object) -> None:
    """Print JSON; times and ids as text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, each column as wide as its widest cell."""
    lines = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def note(message: str) -> None:
    """Tell the reader something beside the result."""
    typer.echo(message, err=True)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator["Steps"]:
    """Show a bar on a terminal while long work goes on; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_errors, transient=True, disable=not _errors.is_terminal) as bar:
        yield Steps(bar, bar.add_task(what, total=total))


class Steps:
    """The bar of one piece of work."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def done(self, steps: int = 1) -> None:
        """Move on."""
        self._bar.advance(self._task, steps)


def count(counts: Mapping[str, int]) -> str:
    """Write counts in a line: `3 paid, 1 declined`."""
    return ", ".join(f"{number} {name}" for name, number in counts.items())
