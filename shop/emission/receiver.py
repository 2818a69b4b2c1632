"""POST to an address that somebody outside gave us.

Promises: only addresses of the public internet are reached, whatever a name says, and says a moment later: a name is
looked up once, and what was looked at is what is connected to. Redirects are not followed, of an answer the status
alone is read, and nobody waits longer than TIMEOUT_S.

It speaks HTTP/1.1 with asyncio's streams, one connection a request: so whoever starts waits for no HTTP client, and the
address that was checked can be handed over, which the usual clients do not allow.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from shop.process import process
from shop.process.remote import Remote
from shop.process.tls import trusted

TIMEOUT_S = 8.0
"""How long one receiver may take, the look-up of its name included: it is inside a function's 10 s."""

TURN_S = 2.0
"""How long the connection to one of several addresses may take: one that never answers must leave time for the next."""

MAX_HEAD = 16 * 1024
"""The most bytes of an answer's head that are read."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r]")

_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotTaken(Exception):
    """Say why a receiver may not have taken what was sent."""


async def post(url: str, headers: Mapping[str, str], content: bytes, *, private: bool) -> int:
    """POST, to private addresses too if they are allowed, and return the status of the answer.

    Raises NotTaken when none came, or none was asked for.
    """
    try:
        async with asyncio.timeout(process.current().limit(TIMEOUT_S)):
            return await _post(url, headers, content, private=private)
    except TimeoutError as error:
        raise NotTaken(f"no answer within {TIMEOUT_S:.0f} s") from error
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise NotTaken(f"{type(error).__name__} {error}") from error


def named(url: str) -> str:
    """Return what a log may say of an address: its path and query may hold a secret."""
    return str(urlsplit(url).hostname)


async def _post(url: str, headers: Mapping[str, str], content: bytes, *, private: bool) -> int:
    remote = Remote.of(url)
    addresses = await _look_up(remote.host, remote.port, private=private)
    tls = {"ssl": process.current().once(trusted), "server_hostname": remote.host} if remote.is_tls else {}
    reader, writer = await _connect(addresses, remote.port, tls)
    try:
        told = {"Host": remote.named, **headers, "Content-Length": str(len(content)), "Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        writer.write(f"POST {remote.target} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + content)
        return await _status(reader)
    finally:
        writer.transport.abort()  # whatever else it has to say
        with suppress(OSError):
            await writer.wait_closed()


async def _connect(
    addresses: Sequence[str], port: int, tls: Mapping[str, Any]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that takes us. Raises the OSError of the last one."""
    for address in addresses[:-1]:
        with suppress(OSError):  # a TimeoutError is one
            async with asyncio.timeout(process.current().limit(TURN_S)):
                return await asyncio.open_connection(address, port, limit=MAX_HEAD, **tls)
    return await asyncio.open_connection(addresses[-1], port, limit=MAX_HEAD, **tls)


async def _look_up(host: str, port: int, *, private: bool) -> Sequence[str]:
    """Return the addresses of a name. Raises NotTaken when one of them is private, and that is not allowed."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    for address in addresses:
        if not (private or is_public(address)):
            raise NotTaken(f"its address {address} is not public; WEBHOOK_PRIVATE=1 would allow it")
    return addresses


def is_public(text: str) -> bool:
    """Tell whether an address is of the public internet, and leads nowhere else."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if within is None and address in _NAT64:
            within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return is_public(str(within))
    return address.is_global and not address.is_multicast and not address.is_reserved


async def _status(reader: asyncio.StreamReader) -> int:
    """Return the status of the answer; interim answers, such as 103, come before it. Raises ValueError for no HTTP."""
    for _ in range(_INTERIM):
        head = await reader.readuntil(b"\r\n\r\n")
        found = _STATUS.match(head)
        if found is None:
            raise ValueError("the answer is no HTTP/1.1")
        if (status := int(found[1])) >= 200:
            return status
    raise ValueError(f"over {_INTERIM} interim answers")


_INTERIM = 5
"""How many answers may come before the one that counts."""
