"""Say what came of a verb: a table or JSON on standard output, progress on standard error, and an exit code for CI.

Exit code 1 says that a check failed, and nothing else: what goes wrong otherwise is 2, in one line without a trace.
"""

import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import typer
from confluent_kafka import KafkaException
from pymongo.errors import ConfigurationError, InvalidName, OperationFailure, PyMongoError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup
from typer.exceptions import TyperException

from operate.errors import NotReachable, WrongUse
from wire.recording import NotARecordingError

CHECK_FAILED: Final = 1
WRONG_USE: Final = 2
"""Also for what cannot be reached: the result is unknown."""

_errors = Console(stderr=True)


class Verbs(TyperGroup):
    """Commands whose common options may stand anywhere, and whatever goes wrong is exit code 2 and one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the common options, wherever they are given."""
        try:
            return list(super().parse_args(ctx, self._common_options_first(args)))
        except typer.BadParameter as error:
            _fail(_said(error))

    def _common_options_first(self, args: list[str]) -> list[str]:
        """Move our options, each with its value, to where they are read from: before the verb."""
        common = {name for option in self.params for name in option.opts} - {"--help"}
        first: list[str] = []
        rest: list[str] = []
        waiting = iter(args)
        for arg in waiting:
            name, _, _ = arg.partition("=")
            if arg == "--":
                rest += [arg, *waiting]
            elif name not in common:
                rest.append(arg)
            elif name != arg:
                first.append(arg)
            else:
                value = next(waiting, None)
                if value is None:
                    raise typer.BadParameter(f"{arg} needs a value")
                first += [arg, value]
        return first + rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            _fail(_said(error))
        except (TyperException, typer.Exit, typer.Abort):
            raise  # these say by themselves what there is to say
        except BrokenPipeError:
            _forget_standard_output()
            raise typer.Exit(WRONG_USE) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not look like a check that failed
            _fail(_explained(error))


def _said(error: typer.BadParameter) -> str:
    """Say what is wrong with an option or an argument, and where to read about it."""
    ctx = error.ctx
    return error.format_message().rstrip(".") + (f"; see {ctx.command_path} --help" if ctx else "")


def _explained(error: Exception) -> str:
    """Say what went wrong; of a bug, after its trace."""
    match error:
        case WrongUse() | NotReachable() | NotARecordingError():
            return str(error)
        case ConfigurationError() | InvalidName():
            return f"a setting for MongoDB cannot be used: {error}"
        case OperationFailure():
            return f"MongoDB refuses: {without_topology(error)}"
        case PyMongoError():
            return f"MongoDB does not answer: {without_topology(error)}"
        case KafkaException():
            return f"Kafka does not answer: {error.args[0].str() if error.args else error}"
        case OSError():
            return f"{error.strerror}: {error.filename}" if error.filename else str(error)
        case UnicodeError():
            return f"this is not UTF-8: {error}"
        case _:
            traceback.print_exception(error)
            return "the above is a bug in this command; the result is unknown"


_NOISE: Final = re.compile(
    r" \(configured timeouts: [^)]*\)|, (?:Timeout: [\d.]+s, Topology Description|full error): .*", re.DOTALL
)


def without_topology(error: PyMongoError) -> str:
    """Return what MongoDB's driver says, without all that it knows of each server."""
    return _NOISE.sub("", str(error))


def _forget_standard_output() -> None:
    """Let nothing more be written to an output that nobody reads any more: `orders ... | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> NoReturn:
    typer.echo(" ".join(message.split()), err=True)
    raise typer.Exit(WRONG_USE)


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
