"""Deliver events as KafkaSource does: the same requests and the same retries, and no dead letters."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

from operate.errors import NotReachable
from operate.urls import PORTS
from wire.delivery import DeliverySpec, Sender, UndeliveredError, is_retried
from wire.event import Event

RETRIES: Final = DeliverySpec(retry=3, backoff_delay_s=0.1, timeout_s=30)
"""As the manifests have it for KafkaSource, but short: somebody waits. A function answers within 10 s."""

_CONNECT_S: Final = 5


@dataclass(frozen=True)
class Answer:
    """What a function said in the end; `status` is None when it said nothing."""

    status: int | None
    reason: str
    attempts: int

    @property
    def accepted(self) -> bool:
        """Whether KafkaSource would count the event as delivered."""
        return self.status is not None and self.status < 300

    @property
    def later(self) -> bool:
        """Whether KafkaSource would have tried again: the function, or what it needs, is down."""
        return is_retried(self.status)


class Target:
    """One function, at a URL."""

    def __init__(self, url: str, *, retries: DeliverySpec = RETRIES) -> None:
        self.url = url
        self.begun = 0
        """How many events were sent, or are on their way."""
        self._sender = Sender(url, "shop", retries)

    async def __aenter__(self) -> Self:
        """Make sure that somebody answers there. Raises NotReachable."""
        await self.reach()
        return self

    async def reach(self) -> None:
        """Connect, and no more. Raises NotReachable when nobody is there, or nobody whom this machine trusts."""
        parts = urlsplit(self.url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        try:
            async with asyncio.timeout(_CONNECT_S):
                port = parts.port or PORTS[parts.scheme]
                _, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
        except TimeoutError:
            raise NotReachable(f"nobody answers at {self.url} within {_CONNECT_S} s") from None
        except ssl.SSLError as error:
            raise NotReachable(f"no TLS with {self.url}: {error}") from error
        except OSError as error:
            raise NotReachable(f"nobody answers at {self.url}: {error}") from error
        writer.transport.abort()  # nothing was said, so there is nothing to end in order

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        self._sender.close()

    async def send(self, event: Event) -> Answer:
        """Deliver one event, with retries."""
        self.begun += 1
        try:
            attempts = await self._sender.send(event, [])
        except UndeliveredError as failure:
            response = failure.response
            reason = response.body.decode(errors="replace") if response else str(failure)
            return Answer(response.status if response else None, reason, failure.attempts)
        return Answer(200, "", attempts)

    def insist(self, answer: Answer) -> None:
        """Raise NotReachable unless the event was taken: a sink has no reason to refuse one for good."""
        if not answer.accepted:
            why = _NOT_OURS if answer.status in (401, 403) else answer.reason
            raise NotReachable(f"the sink at {self.url} did not take an event: {answer.status} {why}")


_NOT_OURS = (
    "Eventing demands a token there, and this command sends none; what is still `ordered` is requested again by "
    "resend_orders, which has one"
)


class Pace:
    """At most so many a second, evenly; without a rate as fast as it goes."""

    def __init__(self, rate: float | None) -> None:
        self._interval_s = 1 / rate if rate else 0.0
        self._due = 0.0

    async def wait(self) -> None:
        """Wait for one's turn."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now) + self._interval_s
        if self._interval_s:
            await asyncio.sleep(self._due - self._interval_s - now)


async def send_all(
    target: Target,
    events: Iterable[Event],
    told: Callable[[Event, Answer], None],
    *,
    concurrency: int,
    rate: float | None = None,
) -> None:
    """Deliver events, so many at a time and at most `rate` a second, and tell of each answer.

    Raises NotReachable when nobody answers at the target to begin with, and when nobody is there any more: what is left
    would be retried, one event after the other, for nothing.
    """
    waiting, pace = iter(events), Pace(rate)

    async def work() -> None:
        for event in waiting:
            await pace.wait()
            answer = await target.send(event)
            told(event, answer)
            if answer.status is None:
                await target.reach()

    async with target:
        await together(work() for _ in range(concurrency))


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at the same time; the first failure ends all of it, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
