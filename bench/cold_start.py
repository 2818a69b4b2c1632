"""e. Cold start and memory: each function beside a bare hello of the framework, both ways of serving it.

The time is from exec to the first 2xx of what Knative asks for readiness; memory is that of a process that has answered
once. MongoDB runs, Kafka does not: nothing is emitted.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import cpu, running
from bench.figures import Result, Spread, Target, method, ratios, table
from bench.rounds import Plan
from bench.running import PYTHON
from local.ports import free_port
from local.servers.child import die_with_parent
from local.servers.services import base_environment
from local.settings import ROOT

HELLO: Final = "bare hello"

_ANSWERED_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.002
_ENDED_WITHIN_S: Final = 30.0
_MINUTES: Final = 4.0
_BOUNDS: Final = (1.5, 1.25)


class ColdStartError(Exception):
    """A function did not start."""


@dataclass(frozen=True)
class Start:
    """What one start has cost."""

    ms: float
    cpu_ms: float
    rss_mb: float
    pss_mb: float


@dataclass
class Served:
    """A function, one way of serving it, and its starts."""

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    path: str
    starts: list[Start] = field(default_factory=list)

    def start(self) -> Start:
        """Start it, look at it when it has answered, and end it. Raises ColdStartError when it does not answer."""
        port = free_port()
        environment = {**base_environment(), "PORT": str(port), "HOST": "127.0.0.1", **self.environment}
        begun = time.monotonic()
        process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        try:
            while not _is_answered(port, self.path):
                if process.poll() is not None or time.monotonic() > begun + _ANSWERED_WITHIN_S:
                    raise ColdStartError(f"{self.name} does not answer: {' '.join(map(str, self.command))}")
                time.sleep(_POLL_S)
            took_s = time.monotonic() - begun
            family = cpu.descendants(process.pid)
            used = cpu.used(family).total()
            memory = [each.memory() for each in family]
            megabytes = {kind: sum(each[kind] for each in memory) / 1e6 for kind in ("Rss", "Pss")}
            return Start(took_s * 1000, used * 1000, megabytes["Rss"], megabytes["Pss"])
        finally:
            process.terminate()
            try:
                process.wait(_ENDED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_answered(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWERED_WITHIN_S) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(12).startswith(b"HTTP/1.1 2")
    except OSError:
        return False


async def measure(plan: Plan, results: list[Result]) -> None:
    """Start each in turn, round by round, and leave what was found. Raises ColdStartError."""
    async with running.database() as database:
        await database.set_up()
        one, workers = _all(database.uri)
        try:
            for number in plan.play("e", _MINUTES):
                for each in [*one, *workers]:
                    each.starts.append(await asyncio.to_thread(each.start))
                hello = one[0].starts[-1].ms
                slowest = max(one[1:], key=lambda each: each.starts[-1].ms)
                plan.say(f"e: round {number}: hello {hello:.0f} ms; {slowest.name} {slowest.starts[-1].ms:.0f} ms")
        finally:
            results.extend(_results(one, workers))


def _all(uri: str) -> tuple[list[Served], list[Served]]:
    """Return the hello and the functions, in one process and as the framework starts them."""
    framework = Path(sys.prefix) / "bin" / "functions-framework"
    hello = ROOT / "bench" / "peers" / "hello.py"
    under_gunicorn: list[str | Path] = [framework, "--asgi", "--target"]
    one = [Served(HELLO, [PYTHON, "-m", "bench.peers.hello"], {}, "/")]
    workers = [Served(HELLO, [*under_gunicorn, "hello", "--source", hello], {"PYTHONPATH": str(ROOT)}, "/")]
    for source in sorted((ROOT / "functions").glob("*/main.py")):
        name = source.parent.name
        if name == "console":
            continue  # an operator's tool, of which one process is always there
        command, target = running.function(name)
        environment = {**target, "MONGODB_URI": uri, "K_SINK": running.NO_SINK}
        one.append(Served(name, command, environment, "/healthz"))
        as_framework = [*under_gunicorn, name, "--source", source]
        workers.append(Served(name, as_framework, {**environment, "PYTHONPATH": str(ROOT)}, "/healthz"))
    return one, workers


def _results(one: Sequence[Served], workers: Sequence[Served]) -> list[Result]:
    hello, *functions = one
    if not hello.starts:
        return []
    result = Result("e", "Cold start and memory", [method(__doc__)])
    header = ["", "ms", "over hello", "CPU ms", "RSS MB", "over hello", "PSS MB", "gunicorn: ms", "PSS MB"]
    rows = [
        [
            each.name,
            Spread.of(start.ms for start in each.starts).shown(digits=0),
            _over(each, hello, "ms").shown("x", digits=2),
            Spread.of(start.cpu_ms for start in each.starts).shown(digits=0),
            Spread.of(start.rss_mb for start in each.starts).shown(digits=1),
            _over(each, hello, "rss_mb").shown("x", digits=2),
            Spread.of(start.pss_mb for start in each.starts).shown(digits=1),
            Spread.of(start.ms for start in other.starts).shown(digits=0),
            Spread.of(start.pss_mb for start in other.starts).shown(digits=1),
        ]
        for each, other in zip(one, workers, strict=True)
        if other.starts
    ]
    result.text.append(table(header, rows))
    for figure, what in (("time to the first answer", "ms"), ("memory", "rss_mb")):
        worst = max(functions, key=lambda each: _over(each, hello, what).median)
        over = _over(worst, hello, what)
        result.targets.append(
            Target(f"e. {figure} over the bare hello, {worst.name} (the worst)", *_BOUNDS, over, more_is_better=False)
        )
    return [result]


def _over(each: Served, hello: Served, what: str) -> Spread:
    return ratios(list(_values(each, what)), list(_values(hello, what)))


def _values(served: Served, what: str) -> Iterable[float]:
    return (getattr(start, what) for start in served.starts)
