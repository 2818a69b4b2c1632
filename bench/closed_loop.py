"""Orders settled per second: ten users, each of whom orders the next basket when the last one is paid. `make bench`.

The load, the functions, MongoDB, Kafka and Envoy share this machine: the figure is for comparing two states of the code
on one machine, in one run, and for nothing else.
"""

import argparse
import asyncio
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import aiohttp

from local.program import Stopped, aside, end_early, run, say
from local.servers.kafka import ensure_jars
from local.servers.parts import PartFailedError
from local.settings import Settings, SettingsError
from local.stack import Stack

USERS: Final = 10
_POLL_S: Final = 0.005
_WARM_UP_S: Final = 3.0


class Customer:
    """One user in a closed loop; `settled_s` are the times from POST /Order to paid, after the warm-up."""

    def __init__(self, http: aiohttp.ClientSession, url: str, user: str) -> None:
        self._http = http
        self._url = url
        self._user = user
        self.settled_s: list[float] = []

    async def run(self, warm_at: float, until: float) -> None:
        """Order until the time is over."""
        await self._call("POST", "/CreateUser")
        await self._call("POST", "/DepositCash", sum=10**12)
        while time.monotonic() < until:
            basket = await self._call("GET", "/GetBasket")
            begun = time.monotonic()
            await self._call("POST", "/Order", sum=1, basket=basket["basket"], attempt=basket["attempt"])
            while (await self._call("GET", "/GetOrder", basket=basket["basket"]))["message"] != "paid":
                if time.monotonic() > until + 30:
                    raise TimeoutError(f"basket {basket['basket']} was not paid within 30 s")
                await asyncio.sleep(_POLL_S)
            if begun > warm_at:
                self.settled_s.append(time.monotonic() - begun)

    async def _call(self, method: str, path: str, **fields: object) -> Any:
        async with self._http.request(method, self._url + path, json={"user": self._user, **fields}) as response:
            response.raise_for_status()
            return await response.json()


class Measurement:
    """The loop against a stack of its own; its figures may be read at any time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._customers: list[Customer] = []
        self._warm_at = math.inf

    async def run(self) -> None:
        """Order for so many seconds after the warm-up."""
        await aside(lambda: ensure_jars(say))
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(port=0, folder=Path(folder), mongodb_port=0, kafka_port=0, sink_port=0)
            async with Stack(settings) as stack, aiohttp.ClientSession() as http:
                self._customers = [Customer(http, stack.url, f"customer {number}") for number in range(USERS)]
                self._warm_at = time.monotonic() + _WARM_UP_S
                until = self._warm_at + self.seconds
                say(f"{USERS} users order for {self.seconds:g} s, on {os.cpu_count()} cores")
                await asyncio.gather(*(customer.run(self._warm_at, until) for customer in self._customers))

    def figures(self, until: float = math.inf) -> str:
        """Say what came of it, until it was ended."""
        times = sorted(each for customer in self._customers for each in customer.settled_s)
        if not times:
            return "no order was settled after the warm-up"
        seconds = min(self.seconds, until - self._warm_at)
        p99 = times[int(len(times) * 0.99)]
        return (
            f"{len(times) / seconds:.1f} orders settled per second; "
            f"from POST /Order to paid {statistics.median(times) * 1000:.0f} ms (median), {p99 * 1000:.0f} ms (p99)"
        )


def main() -> None:
    """Measure, and print the figures, of the time that there was when a signal has ended it."""
    parser = argparse.ArgumentParser(description="Orders settled per second, on a stack of its own")
    parser.add_argument("seconds", nargs="?", type=float, default=20.0, help="how long to measure")
    measurement = Measurement(parser.parse_args().seconds)
    if not measurement.seconds > 0:
        parser.error(f"nothing can be measured within {measurement.seconds:g} s")
    try:
        run(measurement.run(), say)
        say(measurement.figures())
    except (PartFailedError, SettingsError) as failure:
        sys.exit(f"{failure}")
    except Stopped as stopped:
        end_early(stopped, f"Until then {measurement.figures(until=stopped.at)}")


if __name__ == "__main__":
    main()
