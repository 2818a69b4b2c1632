"""docs/cli.md holds the help of every command; `python -m tests.operate.documented` brings it up to date."""

import re
from collections.abc import Iterator
from pathlib import Path

from typer import _click as click
from typer.core import TyperGroup
from typer.main import get_command

from operate.cli.__main__ import app

FILE = Path(__file__).parents[2] / "docs" / "cli.md"
_WIDTH = 100
_BLOCK = re.compile(r"(?<=```console\n)\$ orders(.*?) --help\n.*?(?=```\n)", re.DOTALL)


def helps() -> dict[str, str]:
    """Return the help of every command and group by its words: ` event record`."""
    return dict(_helps(get_command(app), "", None))


def _helps(command: click.Command, words: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    name = "orders" if parent is None else words.split()[-1]
    context = click.Context(command, info_name=name, parent=parent, max_content_width=_WIDTH, terminal_width=_WIDTH)
    yield words, command.get_help(context)
    if isinstance(command, TyperGroup):
        for each in command.list_commands(context):
            subcommand = command.get_command(context, each)
            assert subcommand is not None
            yield from _helps(subcommand, f"{words} {each}", context)


def brought_up_to_date(text: str) -> str:
    """Return the text with what the commands say now in its blocks."""
    known = helps()
    return _BLOCK.sub(lambda found: f"$ orders{found[1]} --help\n{known[found[1]]}\n", text)


def documented(text: str) -> list[str]:
    """Return the commands whose help the text has."""
    return [found[1] for found in _BLOCK.finditer(text)]


if __name__ == "__main__":
    FILE.write_text(brought_up_to_date(FILE.read_text()))
