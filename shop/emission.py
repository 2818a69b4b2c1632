"""Send CloudEvents out: to K_SINK, in binary mode, built from stored state alone.

Promise: every emission of one effect in one epoch is the same byte for byte, `traceparent` apart, so whoever takes two
of them has taken one. After a failure the event may be stored all the same: KafkaSink goes on trying when nobody waits
any more.
"""

import asyncio
import copy
from urllib.parse import quote

import aiohttp

from shop.edge import handling as edge
from shop.errors import Unavailable
from shop.messages import SOURCES, Event, event_id, happened_at, rfc3339
from shop.process import settings

TIMEOUT_S = 2.0
"""How long one emission may take. KafkaSink would try for two minutes; resend and KafkaSource's retry do it for us."""

_session: aiohttp.ClientSession | None = None


def check() -> None:
    """Make sure that this process knows where to emit. Raises Unavailable when it does not.

    To be called before anything is done: the first revision of a Service may start before its SinkBinding is applied.
    """
    if not settings.get().sink:
        raise Unavailable("K_SINK is not set; apply this function's SinkBinding", repeat_safe=False)


async def emit(event: Event) -> None:
    """Emit an event; returning means that Kafka has it.

    Raises Unavailable when that is unknown, after TIMEOUT_S at the latest: emit it again, later.
    """
    headers, data = _headers(event), _data(event)
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


def _headers(event: Event) -> dict[str, str]:
    headers = {
        "content-type": "application/protobuf",
        "ce-specversion": "1.0",
        "ce-id": event_id(event),
        "ce-type": event.DESCRIPTOR.full_name,
        "ce-source": SOURCES[type(event)],
        "ce-subject": event.basket,
        "ce-time": rfc3339(happened_at(event)),
        "ce-partitionkey": quote(event.user, safe=""),  # attributes are ASCII, customers are not
    }
    if trace := edge.traceparent.get():
        headers["traceparent"] = headers["ce-traceparent"] = trace
    return headers | {f"ce-{name}": value for name, value in settings.get().event_overrides.items()}


def _data(event: Event) -> bytes:
    """Return the event's bytes. They say which epoch they are of; in epoch 0 they say nothing, as they always did."""
    if epoch := edge.epoch.get():
        event = copy.deepcopy(event)
        event.epoch = epoch
    return event.SerializeToString(deterministic=True)


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
