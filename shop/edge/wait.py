"""Let a client wait for what is not known yet: `Prefer: wait=N` (RFC 7240), or `wait=N` in the query, in seconds.

Promises: what was done is answered in time and without an error, whatever happens during the wait; nobody waits for a
client that has gone away.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from shop.edge.asgi import Request
from shop.errors import Code, Malformed
from shop.process import process

T = TypeVar("T")

WAIT = "wait"
"""The parameter of the query, and the preference."""

LONGEST_S = 20
"""The longest wait; whoever asks for more gets this. It is inside the 30 s after which clients and proxies give up."""

ANSWERED_AFTER_S = 28.0
"""When a client that waits is answered at the latest, from the head of its request on: inside Serving's 30 s. It leaves
some time to wait even when the body and the work took all of their own 10 s."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wait:
    """How long a client wants to wait."""

    seconds: int
    preferred: bool
    """It said so in the header `Prefer`, so the answer says whether that was heard."""

    def __str__(self) -> str:
        return f"{WAIT}={self.seconds}"

    async def for_(self, later: Callable[[], Awaitable[T]], known: T, request: Request, *, since: float) -> T:
        """Return what comes later, if it comes in time, and else what is known; `since` is when the request came.

        The time is also up when the client has gone away, and when `later` is cancelled because the process ends.
        """
        longest_s = since + ANSWERED_AFTER_S - time.monotonic()
        coming, gone = asyncio.ensure_future(later()), asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait(
                (coming, gone),
                timeout=process.current().limit(min(self.seconds, longest_s)),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not coming.done() or coming.cancelled():
                return known
            if (error := coming.exception()) is not None:
                _log.error("unforeseen", exc_info=error)  # what was done is done, and is answered
                return known
            return coming.result()
        finally:
            coming.cancel()
            gone.cancel()


async def _gone(request: Request) -> None:
    """Return when the client has gone away; all of its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def asked_wait(prefer: Iterable[str], query: Iterable[tuple[str, str]]) -> Wait | None:
    """Return the wait that a request asks for, the query before the headers `Prefer`; None when it asks for none.

    Raises Malformed for a wrong value in the query. One in a header is ignored, as RFC 7240 says.
    """
    match [text for name, text in query if name == WAIT]:
        case []:
            return _preferred_wait(prefer)
        case [text]:
            if not _SECONDS.fullmatch(text):
                raise Malformed(Code.WRONG_TYPE, f"{WAIT} must be a whole number of seconds, such as {WAIT}=5")
            return Wait(_capped(text), preferred=False)
        case _:
            raise Malformed(Code.FIELD_TWICE, f"{WAIT} is sent twice; send it once")


_SECONDS = re.compile(r"[0-9]{1,100}")  # Python refuses to read thousands of digits

_PREFERENCE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')  # a comma inside a quoted string separates nothing


def _preferred_wait(prefer: Iterable[str]) -> Wait | None:
    for preference in _PREFERENCE.findall(", ".join(prefer)):
        name, _, text = (part.strip() for part in preference.partition(";")[0].partition("="))
        if name.lower() == WAIT:  # of a preference that is sent more than once, the first one counts
            return Wait(_capped(text), preferred=True) if _SECONDS.fullmatch(text) else None
    return None


def _capped(text: str) -> int:
    return min(int(text), LONGEST_S)
