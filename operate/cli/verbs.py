"""The verbs of `orders`: which module has each, options that may stand anywhere, and what a failure looks like.

A verb is imported when it is called: `orders --help` imports none of them.
"""

import os
import sys
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from operate.cli.output import WRONG_USE


class Verb(NamedTuple):
    """Where a verb is, and what it does in a line."""

    module: str
    attribute: str
    help: str


VERBS: Final = {
    "status": Verb("status", "status", "Say whether orders get through, and if not, why."),
    "replay": Verb("replay", "replay", "Re-deliver recorded events, then report what changed."),
    "verify": Verb("verify", "verify", "Check that everybody was charged once and that the three databases agree."),
    "event": Verb("event", "app", "Record events, send them again, show the full history of a basket."),
    "dlq": Verb("dead_letters", "app", "List, show, redrive and park dead letters."),
}


class Verbs(TyperGroup):
    """Commands whose common options may stand anywhere, and whatever goes wrong is exit code 2 and one line."""

    def list_commands(self, _: Any) -> list[str]:
        """Name the verbs, in the order of the help."""
        return list(VERBS)

    def get_command(self, _: Any, cmd_name: str) -> Any:
        """Import a verb."""
        if cmd_name not in VERBS:
            return None
        verb = VERBS[cmd_name]
        found = getattr(import_module(f"operate.cli.{verb.module}"), verb.attribute)
        holder = typer.Typer(rich_markup_mode=None, add_completion=False)
        holder.callback()(lambda: None)  # without one, a single command would be taken for all there is
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=cmd_name)
        else:
            holder.command(cmd_name)(found)
        return get_command(holder).get_command(None, cmd_name)  # type: ignore[attr-defined]

    def format_commands(self, _: Any, formatter: Any) -> None:
        """Write what each verb does, and import none of them for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

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
            from operate.cli.failures import explained  # here, for it imports all that can fail

            _fail(explained(error))


def _said(error: typer.BadParameter) -> str:
    """Say what is wrong with an option or an argument, and where to read about it."""
    ctx = error.ctx
    return error.format_message().rstrip(".") + (f"; see {ctx.command_path} --help" if ctx else "")


def _forget_standard_output() -> None:
    """Let nothing more be written to an output that nobody reads any more: `orders ... | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> NoReturn:
    typer.echo(" ".join(message.split()), err=True)
    raise typer.Exit(WRONG_USE)
