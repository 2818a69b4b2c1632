"""POST to K_SINK, on connections that are kept.

Promise: nobody waits for it longer than TIMEOUT_S. After a failure the event may be stored all the same: KafkaSink goes
on trying when nobody waits any more.
"""

import asyncio

import aiohttp

from shop.errors import Code, Unavailable
from shop.process import process

TIMEOUT_S = 2.0
"""How long one emission may take. KafkaSink would try for two minutes; resend and KafkaSource's retry do it for us."""


async def send(headers: dict[str, str], data: bytes) -> None:
    """Send one event; returning means that the sink took it. Raises Unavailable when that is unknown."""
    sink = process.current().once(Sink)
    try:
        async with asyncio.timeout(process.current().limit(TIMEOUT_S)):
            try:
                status = await sink.post(headers, data)
            except aiohttp.ClientConnectorError:
                raise  # nobody listens: a second try would not find anybody either
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # The sink closed an idle connection just as we took it from the pool. Once more, on a fresh one.
                status = await sink.post(headers, data)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(
            Code.SINK_UNAVAILABLE, f"the sink did not take the event: {type(error).__name__} {error}"
        ) from error
    if not 200 <= status < 300:
        raise Unavailable(Code.SINK_UNAVAILABLE, f"the sink answered {status}")


class Sink:
    """The connections of this process to K_SINK."""

    def __init__(self) -> None:
        self._pool = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding")
        )

    async def post(self, headers: dict[str, str], data: bytes) -> int:
        """POST an event, and return the status of the answer."""
        url = process.current().settings.sink
        async with self._pool.post(url, data=data, headers=headers, allow_redirects=False) as response:
            return response.status

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()
