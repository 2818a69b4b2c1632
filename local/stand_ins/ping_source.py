"""PingSources as timers."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Final

from local.manifests import PingSource
from local.servers.probe import request

_RETRIES: Final = 5
_FIRST_DELAY_S: Final = 0.1  # Knative's 50 ms, doubled for each retry, the first one included
_RETRIED: Final = frozenset({404, 413, 425, 429, 502, 503, 504})  # not 500: after that the tick is lost


class PingTimer:
    """Ticks when its PingSource says so, from `start` to `stop`. Ticks that were missed are not made up for."""

    def __init__(
        self,
        source: PingSource,
        port: int,
        report: Callable[[str], None],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._port = port
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Wait for the next whole minute of the schedule, and tick, again and again."""
        self._run(self._wait_and_tick())

    async def stop(self) -> None:
        """Stop waiting, and drop ticks under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def tick(self) -> int | None:
        """Send one event, now; return the last status, or None when there was never an answer."""
        headers = self._event()
        status = None
        for retry in range(_RETRIES + 1):
            if retry:
                await self._sleep(_FIRST_DELAY_S * 2 ** (retry - 1))
            try:
                status = await request(self._port, "POST", "/", headers)
            except (OSError, TimeoutError):
                continue
            if status not in _RETRIED:
                break
        if status is None or status >= 300:
            self._report(f"{self._source.name:<16} the tick is lost: status {status}")
        return status

    async def _wait_and_tick(self) -> None:
        while True:
            now = self._clock()
            minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
            await self._sleep((minute - now).total_seconds())
            if self._source.schedule.matches(minute):
                self._run(self.tick())  # a slow tick does not delay the next one

    def _run(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _event(self) -> dict[str, str]:
        """Return the headers of a new event, which retries repeat."""
        source = self._source
        return {
            "ce-specversion": "1.0",
            "ce-type": "dev.knative.sources.ping",
            "ce-source": f"/apis/v1/namespaces/{source.namespace}/pingsources/{source.name}",
            "ce-id": str(uuid.uuid4()),
            "ce-time": self._clock().isoformat().replace("+00:00", "Z"),
        }
