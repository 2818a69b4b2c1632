"""Say what a URL of http or https leads to, for who speaks HTTP/1.1 with it."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Remote:
    """Where to connect, and what to ask for there."""

    host: str
    """As it is looked up: a name in other letters is encoded."""

    port: int
    is_tls: bool
    target: str
    """Path and query, as they were written."""

    named: str
    """Host and port, as they were written."""

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL. Raises ValueError for a host or a port that cannot be."""
        parts = urlsplit(url)
        host, is_tls = (parts.hostname or "").encode("idna").decode(), parts.scheme == "https"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(host, parts.port or (443 if is_tls else 80), is_tls, target, parts.netloc)
