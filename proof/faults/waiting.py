"""Wait for what must come to be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = 45) -> T:
    """Return the first result of `condition` that is true.

    Raises TimeoutError, after `timeout_s` seconds, with the last result.
    """
    result: object = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                result = last = await condition()
                if last:
                    return last
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"not within {timeout_s} s; the last result was {result!r}") from None
