"""g. Spans: what they cost a function, at its start and per request, with an endpoint and without one.

One process without an endpoint, a second one like it, which shows what is noise, and one that sends every span to a
collector beside it. CPU of the function's process alone, from exec to the first answer, and per GET /GetUser over one
connection. All three run at the same time and take turns.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web

from bench import cpu, running
from bench.cold_start import Served
from bench.figures import Result, Spread, Target, method, ratios, table
from bench.load import Caller
from bench.rounds import Plan
from local.ports import free_port

_MINUTES: Final = 2.0
_REQUESTS: Final = 2000
_TURNS: Final = 20
_BOUNDS: Final = (1.05, 1.02)
_USER: Final = "Pavel"


@dataclass
class _Variant:
    name: str
    environment: dict[str, str]
    cold_ms: list[float] = field(default_factory=list)
    request_us: list[float] = field(default_factory=list)


@asynccontextmanager
async def _collector() -> AsyncIterator[str]:
    """Take spans, and forget them."""

    async def traces(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app, port = web.Application(client_max_size=2**26), free_port()
    app.router.add_post("/v1/traces", traces)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def measure(plan: Plan, results: list[Result]) -> None:
    """Measure, and leave what was found. Raises PartFailedError, LoadError, ColdStartError."""
    async with running.database() as database, _collector() as collector:
        await database.set_up()
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        variants = [_Variant("no endpoint", {}), _Variant("no endpoint, again", {}), _Variant("endpoint", endpoint)]
        await _make_user(database)
        try:
            for number in plan.play("g", _MINUTES):
                for each in variants:
                    started = await asyncio.to_thread(_served(each, database.uri).start)
                    each.cold_ms.append(started.cpu_ms)
                await _requests(variants, database, plan)
                plan.say(f"g: round {number}: {', '.join(f'{v.name} {v.request_us[-1]:.0f} µs' for v in variants)}")
        finally:
            results.extend(_results(variants))


def _served(variant: _Variant, uri: str) -> Served:
    command, target = running.function("get_user")
    return Served(
        variant.name, command, {**target, "MONGODB_URI": uri, **variant.environment}, f"/GetUser?user={_USER}"
    )


async def _make_user(database: running.Database) -> None:
    command, target = running.function("create_user")
    environment = {**target, "MONGODB_URI": database.uri}
    async with running.served(command, environment, database.folder / "create.log", running.healthy) as function:
        caller = await Caller.of(function.url)
        await caller.call("POST", "/CreateUser", user=_USER)
        caller.close()


async def _requests(variants: list[_Variant], database: running.Database, plan: Plan) -> None:
    """Let the variants answer in turn, so many requests each."""
    number = max(20, int(_REQUESTS * plan.scale) // _TURNS)
    async with AsyncExitStack() as stack:
        functions, callers = [], []
        for each in variants:
            served = _served(each, database.uri)
            log_file = Path(database.folder / "spans.log")
            function = await stack.enter_async_context(
                running.served(served.command, served.environment, log_file, running.healthy)
            )
            caller = await Caller.of(function.url)
            stack.callback(caller.close)
            for _ in range(200):  # whatever is done once is done, the import of OpenTelemetry among it
                await caller.call("GET", "/GetUser", user=_USER)
            functions.append(function)
            callers.append(caller)
        await asyncio.sleep(6)  # the queue of what was warmed up is empty
        used = [0.0] * len(variants)
        for turn in range(_TURNS):
            for place in range(len(variants)):
                place = (place + turn) % len(variants)
                before = cpu.used(functions[place].processes).total()
                for _ in range(number):
                    await callers[place].call("GET", "/GetUser", user=_USER)
                used[place] += cpu.used(functions[place].processes).total() - before
        before = cpu.used(functions[-1].processes).total()
        await asyncio.sleep(6)  # what waits in the queue is sent, and counts
        used[-1] += cpu.used(functions[-1].processes).total() - before
        for each, seconds in zip(variants, used, strict=True):
            each.request_us.append(seconds / (number * _TURNS) * 1e6)


def _results(variants: list[_Variant]) -> list[Result]:
    bare, again, traced = variants
    if not traced.request_us:
        return []
    result = Result("g", "Spans", [method(__doc__)])
    header = ["", "CPU ms to the first answer", "over none", "CPU µs a request", "over none"]
    rows = [
        [
            each.name,
            Spread.of(each.cold_ms).shown(digits=0),
            ratios(each.cold_ms, bare.cold_ms).shown("x", digits=2),
            Spread.of(each.request_us).shown(digits=0),
            ratios(each.request_us, bare.request_us).shown("x", digits=2),
        ]
        for each in variants
    ]
    result.text.append(table(header, rows))
    for what, ours, theirs in (
        ("cold start with an endpoint over one without", traced.cold_ms, bare.cold_ms),
        ("noise: a request without an endpoint over another", again.request_us, bare.request_us),
    ):
        result.targets.append(Target(f"g. {what}", *_BOUNDS, ratios(ours, theirs), more_is_better=False))
    return [result]
