"""Check a URL before anything is sent there: a typing mistake is one line that says what to write instead."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from operate.errors import WrongUse

PORTS: Final = {"http": 80, "https": 443}
"""The schemes that can be spoken, and the port of each."""


def checked(url: str, said: str) -> str:
    """Return the URL as it is. Raises WrongUse, naming the option that `said` it, when nothing can be sent there."""

    def wrong(what: str) -> WrongUse:
        return WrongUse(f"{said} {url!r}: {what}")

    scheme, found, _ = url.partition("://")
    if not found:
        raise wrong("it does not begin with http:// or https://; a host and a port are http://localhost:8080")
    if scheme.lower() not in PORTS:
        raise wrong(f"{scheme!r} cannot be spoken; write http:// or https://")
    try:
        parts = urlsplit(url)
        _check_host(parts.hostname, parts.netloc)
        port = parts.port
    except UnicodeError:
        raise wrong("no host can be called so") from None
    except ValueError as error:
        raise wrong(str(error)) from None
    if port == 0:
        raise wrong("port 0 is none that can be sent to")
    if "@" in parts.netloc:
        raise WrongUse(f"{said}: a name and a password in a URL are not sent; leave them out")
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise wrong("write what is not ASCII, a space among it, as %20 and the like")
    return url


def _check_host(host: str | None, netloc: str) -> None:
    """Raise ValueError for a host that cannot be one."""
    if "[" in netloc:
        try:
            ipaddress.IPv6Address(host or "")
        except ValueError:
            raise ValueError(f"{host!r} is no IPv6 address") from None
        return
    if netloc.rpartition("@")[2].count(":") > 1:
        raise ValueError("an IPv6 address is written in brackets, such as http://[::1]:8080")
    if not host:
        raise ValueError("there is no host in it")
    encoded = host.encode("idna").decode()
    if not host.isascii():
        raise ValueError(f"write its host in ASCII: {encoded}")
