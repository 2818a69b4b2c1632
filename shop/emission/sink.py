"""POST to K_SINK, on connections that are kept.

Promise: nobody waits for it longer than TIMEOUT_S. After a failure the event may be stored all the same: KafkaSink goes
on trying when nobody waits any more.
"""

import asyncio

import aiohttp

from shop.errors import Unavailable
from shop.process import settings

TIMEOUT_S = 2.0
"""How long one emission may take. KafkaSink would try for two minutes; resend and KafkaSource's retry do it for us."""

_session: aiohttp.ClientSession | None = None


async def send(headers: dict[str, str], data: bytes) -> None:
    """Send one event; returning means that the sink took it. Raises Unavailable when that is unknown."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            try:
                status = await _post(headers, data)
            except aiohttp.ClientConnectorError:
                raise  # nobody listens: a second try would not find anybody either
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # The sink closed an idle connection just as we took it from the pool. Once more, on a fresh one.
                status = await _post(headers, data)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"the sink did not take the event: {type(error).__name__} {error}") from error
    if not 200 <= status < 300:
        raise Unavailable(f"the sink answered {status}")


async def _post(headers: dict[str, str], data: bytes) -> int:
    async with _client().post(settings.get().sink, data=data, headers=headers, allow_redirects=False) as response:
        return response.status


def _client() -> aiohttp.ClientSession:
    global _session  # one keep-alive pool per process
    if _session is None:
        _session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding")
        )
    return _session


async def close() -> None:
    """Close this process's connections; the next emission opens others."""
    global _session
    if _session is not None:
        await _session.close()
        _session = None
