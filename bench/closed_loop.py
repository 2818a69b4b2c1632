"""Orders settled per second: ten users, each of whom orders the next basket when the last one is paid. `make bench`.

The load, the functions, MongoDB, Kafka and Envoy share this machine: the figure is for comparing two states of the code
on one machine, in one run, and for nothing else.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import aiohttp

from local.kafka import ensure_jars
from local.settings import Settings
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


async def measure(seconds: float) -> None:
    """Run the loop against a stack of its own, and print what came of it."""
    await asyncio.to_thread(ensure_jars, print)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(port=0, folder=Path(folder), mongodb_port=0, kafka_port=0, sink_port=0)
        async with Stack(settings) as stack, aiohttp.ClientSession() as http:
            customers = [Customer(http, stack.url, f"customer {number}") for number in range(USERS)]
            warm_at = time.monotonic() + _WARM_UP_S
            until = warm_at + seconds
            print(f"{USERS} users order for {seconds:.0f} s, on {os.cpu_count()} cores", flush=True)
            await asyncio.gather(*(customer.run(warm_at, until) for customer in customers))
    times = sorted(each for customer in customers for each in customer.settled_s)
    p99 = times[int(len(times) * 0.99)]
    print(
        f"{len(times) / seconds:.1f} orders settled per second; "
        f"from POST /Order to paid {statistics.median(times) * 1000:.0f} ms (median), {p99 * 1000:.0f} ms (p99)"
    )


if __name__ == "__main__":
    asyncio.run(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0))
