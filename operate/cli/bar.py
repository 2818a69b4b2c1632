"""A bar on the terminal while long work goes on."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from operate.cli.output import Steps


class Bar(Steps):
    """The bar of one piece of work."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown = shown
        self._task = task

    def done(self, steps: int = 1) -> None:
        """Move on."""
        self._shown.advance(self._task, steps)


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Steps]:
    """Show a bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bar(shown, shown.add_task(what, total=total))
