"""`orders` as a person runs it, in this process, and the files it reads and writes."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from operate.cli.__main__ import app


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


_VARIABLES = (
    *("MONGODB_URI", "ORDERS_MONGODB_URI", "BILLING_MONGODB_URI", "NOTIFY_MONGODB_URI", "KAFKA_BOOTSTRAP_SERVERS"),
    *("KAFKA_CONFIG", "SINK_URL", "FUNCTION_URL", "LOCAL_DIR"),
)


class Orders:
    """The `orders` command, in an environment that says no more than this about where things are."""

    def __init__(self, environment: Mapping[str, str | None]) -> None:
        self._environment: dict[str, str | None] = {**dict.fromkeys(_VARIABLES), "COLUMNS": "200", **environment}

    def told(self, **environment: str) -> "Orders":
        """Return the command in an environment that says more."""
        return Orders({**self._environment, **environment})

    async def __call__(self, *arguments: object) -> Run:
        """Run it to its end. It has an event loop of its own, hence the thread."""
        result = await asyncio.to_thread(
            CliRunner().invoke, app, [str(argument) for argument in arguments], env=self._environment
        )
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
