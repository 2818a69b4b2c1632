"""d. Growth: what a payment, GET /GetBasket and GET /List cost when there is much history.

Two dimensions: the paid baskets of one user, and the users, each with a notification. The histories are inserted, as
the functions would have left them. One request after the other, on a mongod with the cache of the local stack.
"""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from bench import cpu, histories, payments, running, sink
from bench.figures import Result, Spread, Target, method, ratios, shown, table
from bench.load import Connection, LoadError, request
from bench.rounds import Plan
from bench.running import Database, Running

PAID: Final = (10, 1_000, 100_000)
USERS: Final = (1_000, 1_000_000)

_FUNCTIONS: Final = ("billing_handler", "get_basket", "list_notify")
_FEW: Final = 500  # users with the shortest history, so that it stays short
_PAGE: Final = 10  # notifications; more than that are there in every case
_ROUND_S: Final = 1.2
_MINUTES: Final = 3.5  # after the histories are there
_INSERT_MINUTES: Final = 3.0  # for the longest; a million users take half of that on a quiet machine
_FIRST_OF_OURS: Final = 2**64  # basket ids; those of histories are lower
_BOUNDS: Final = (1.2, 1.1)


@dataclass(frozen=True)
class Cost:
    """What a request has cost."""

    ms: float
    cpu_us: float
    """Of the function and MongoDB."""


@dataclass
class Case:
    """One kind of request, with so much history."""

    what: str
    size: int
    functions: dict[str, Running]
    function: str
    requests: Iterator[bytes]
    rounds: list[Cost] = field(default_factory=list)

    @property
    def is_payment(self) -> bool:
        """Whether it writes."""
        return self.function == "billing_handler"

    async def play(self, seconds: float, database: Database) -> Cost:
        """Send one after the other. Raises LoadError when one is refused."""
        function = self.functions[self.function]
        processes = [*function.processes, *database.processes]
        connection = await Connection.to(function.url)
        took: list[float] = []
        before, until = cpu.used(processes).total(), time.monotonic() + seconds
        while (begun := time.monotonic()) < until or not took:
            answer = await connection.send(next(self.requests))
            if answer.status != 200:
                raise LoadError(f"{self.what} is answered {answer.status} {answer.body[:200]!r}")
            took.append(time.monotonic() - begun)
        used = cpu.used(processes).total() - before
        connection.close()
        return Cost(statistics.median(took) * 1000, used * 1e6 / len(took))


async def measure(plan: Plan, results: list[Result]) -> None:
    """Insert the histories, play all rounds, and leave what was found. Raises LoadError."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(running.database())
        taking = await stack.enter_async_context(sink.listening())
        worlds = _Worlds(plan, stack, database, taking.url)
        cases = [*await worlds.of_long_histories(), *await worlds.of_many_users()]
        for case in cases:
            await case.play(plan.seconds(_ROUND_S / 3), database)
        try:
            for number in plan.play("d", _MINUTES):
                turn = number % len(cases)
                for case in [*cases[turn:], *cases[:turn]]:
                    case.rounds.append(await case.play(plan.seconds(_ROUND_S), database))
                said = "; ".join(f"{each.size:,} {each.rounds[-1].cpu_us:.0f} µs" for each in cases if each.is_payment)
                plan.say(f"d: round {number}, CPU of a payment: {said}")
        finally:
            results.extend(_results(cases))


@dataclass
class _Worlds:
    """Three databases each, with functions of their own, on one mongod."""

    plan: Plan
    stack: AsyncExitStack
    database: Database
    sink_url: str
    ids: histories.Ids = field(default_factory=histories.Ids)

    async def of_long_histories(self) -> list[Case]:
        """Make users who have paid for few and for many baskets."""
        users = {
            paid: [f"paid-{paid}-{number}" for number in range(_FEW if paid == PAID[0] else 1)]
            for paid in (self._scaled(paid, PAID) for paid in PAID)
        }
        names = await self._set_up("baskets")
        for paid, some in users.items():
            documents = itertools.chain.from_iterable(histories.of(user, paid, self.ids) for user in some)
            await self._insert(names, documents, f"{paid:,} paid baskets of a user")
        functions = await self._functions(names)
        return [case for paid in users for case in _cases("paid baskets", paid, paid, users[paid], functions)]

    async def of_many_users(self) -> list[Case]:
        """Make few users and many, who have ordered nothing yet."""
        cases = []
        for size in (self._scaled(users, USERS) for users in USERS):
            users: list[str] = []
            names = await self._set_up(f"users-{size}")
            until = time.monotonic() + self.plan.scale * _INSERT_MINUTES * 60
            await self._insert(names, _many_users(size, users, self.ids, until), f"{size:,} users")
            functions = await self._functions(names)
            random.Random(size).shuffle(users)  # noqa: S311
            cases += _cases("users", len(users), 0, users, functions)
            cases.append(_list_all("users", len(users), functions))
        return cases

    def _scaled(self, size: int, sizes: Sequence[int]) -> int:
        """Return less of the largest in a run that is shorter."""
        return max(int(size * min(self.plan.scale, 1)), 100) if size == sizes[-1] else size

    async def _set_up(self, name: str) -> dict[str, str]:
        names = {service: f"{service}-{name}" for service in ("orders", "billing", "notify")}
        await self.database.set_up(**_variables(names))
        return names

    async def _insert(self, names: dict[str, str], documents: histories.Documents, what: str) -> None:
        await histories.insert(self.database.uri, names, documents, _telling(self.plan, what))

    async def _functions(self, names: dict[str, str]) -> dict[str, Running]:
        started = {}
        for name in _FUNCTIONS:
            command, target = running.function(name)
            environment = {**target, **_variables(names), "MONGODB_URI": self.database.uri, "K_SINK": self.sink_url}
            log_file = self.database.folder / f"{name}.log"
            served = running.served(command, environment, log_file, running.healthy)
            started[name] = await self.stack.enter_async_context(served)
        return started


def _variables(names: dict[str, str]) -> dict[str, str]:
    return {f"{service.upper()}_DATABASE": name for service, name in names.items()}


def _many_users(size: int, users: list[str], ids: histories.Ids, until: float) -> histories.Documents:
    """Return what there is of so many users who have nothing but a notification; as many as the time is for."""
    for number in range(size):
        if number > USERS[0] and time.monotonic() > until:
            return
        users.append(f"user-{number}")
        yield from histories.of(users[-1], 0, ids)
        yield "notify", "notifications", histories.notification(users[-1], ids.next())


def _cases(dimension: str, size: int, paid: int, users: Sequence[str], functions: dict[str, Running]) -> list[Case]:
    """Return a payment, GET /GetBasket and GET /List for users who have paid so many baskets."""

    def pay() -> Iterator[bytes]:
        url, baskets = functions["billing_handler"].url, itertools.count(_FIRST_OF_OURS + size * 2**32)
        for number in itertools.count(paid + 1):
            for user in users:
                yield payments.post(url, payments.payment(user, number=number, basket=next(baskets)))

    def get(function: str, more: str = "") -> Iterator[bytes]:
        url = functions[function].url
        for user in itertools.cycle(users):
            yield request("GET", f"{url}/?user={user}{more}", {}, b"")

    return [
        Case(f"payment, {dimension}", size, functions, "billing_handler", pay()),
        Case(f"GetBasket, {dimension}", size, functions, "get_basket", get("get_basket")),
        Case(f"List of a user, {dimension}", size, functions, "list_notify", get("list_notify", f"&limit={_PAGE}")),
    ]


def _list_all(dimension: str, size: int, functions: dict[str, Running]) -> Case:
    url = functions["list_notify"].url
    latest = itertools.repeat(request("GET", f"{url}/?limit={_PAGE}", {}, b""))
    return Case(f"List of all, {dimension}", size, functions, "list_notify", latest)


def _telling(plan: Plan, what: str) -> Callable[[int], None]:
    """Say how far an insertion is, every ten seconds."""
    said_at = time.monotonic()
    plan.say(f"d: inserting {what}")

    def tell(inserted: int) -> None:
        nonlocal said_at
        if time.monotonic() > said_at + 10:
            said_at = time.monotonic()
            plan.say(f"d: inserting {what}: {inserted:,} documents")

    return tell


def _results(cases: Sequence[Case]) -> list[Result]:
    """Compare the largest of each with the smallest."""
    if not all(case.rounds for case in cases):
        return []
    result = Result("d", "Growth", [method(__doc__)])
    rows = []
    for what in dict.fromkeys(case.what for case in cases):
        same = [case for case in cases if case.what == what]
        for case in same:
            milliseconds = Spread.of(each.ms for each in case.rounds).shown()
            microseconds = Spread.of(each.cpu_us for each in case.rounds).shown(digits=0)
            rows.append([f"{what}: {shown(case.size, 0)}", milliseconds, microseconds])
        smallest, largest = same[0], same[-1]
        over = ratios([each.cpu_us for each in largest.rounds], [each.cpu_us for each in smallest.rounds])
        figure = f"d. {what}: {largest.size:,} over {smallest.size:,}, CPU"
        result.targets.append(Target(figure, *_BOUNDS, over, more_is_better=False))
    result.text.append(table(["", "ms (median)", "CPU µs, function and mongod"], rows))
    return [result]
