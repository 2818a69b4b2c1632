"""`orders` as a person runs it, in this process, and the files it reads and writes."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from operate.cli.__main__ import app
from operate.cli.options import Surroundings
from operate.places import Places, find
from operate.running import RunningShop
from wire.delivery import DeliverySpec


@dataclass(frozen=True)
class Run:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return its output, read as JSON."""
        return json.loads(self.out)


Opening = Callable[[Places, Callable[[str], None]], RunningShop]
"""How a shop is opened at its places, and what tells of it."""


def hasty(places: Places, tell: Callable[[str], None]) -> RunningShop:
    """Open a shop without much patience: retries follow at once, and who is away is soon known to be."""
    retries = DeliverySpec(retry=3, backoff_delay_s=0.001)
    return RunningShop(places, tell, retries, selection_timeout_ms=200, connect_timeout_s=0.2)


@dataclass(frozen=True)
class Orders:
    """The `orders` command, in an environment that says no more than this about where things are."""

    environment: Mapping[str, str]
    opening: Opening = RunningShop

    def told(self, **environment: str) -> "Orders":
        """Return the command in an environment that says more."""
        return replace(self, environment={**self.environment, **environment})

    def opened(self, opening: Opening) -> "Orders":
        """Return the command with another way to open a shop."""
        return replace(self, opening=opening)

    def shop(self) -> RunningShop:
        """Open the shop that the command looks at."""
        return self.opening(find(self.environment), lambda _: None)

    async def __call__(self, *arguments: object) -> Run:
        """Run it to its end. It has an event loop of its own, hence the thread."""
        return await asyncio.to_thread(self._run, *arguments)

    def _run(self, *arguments: object) -> Run:
        surroundings = Surroundings(self.environment, self.opening)
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], obj=surroundings)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.stderr, result.stderr
        return Run(result.exit_code, result.stdout, result.stderr)


def lines(file: Path) -> list[Any]:
    """Return the lines of a file, each read as JSON."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def write(file: Path, *events: object) -> None:
    """Write lines of JSON."""
    file.write_text("".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events))
