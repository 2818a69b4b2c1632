"""The keys that verify tokens: fetched from their issuer, kept, and fetched again as it rotates them.

Promises: no request waits for the key server longer than FETCH_S, and requests that wait at the same time wait for one
fetch; whatever tokens come, it is asked at most every ASK_AGAIN_S; what it does not answer opens nothing. A key that
the issuer withdrew counts for FRESH_S more, and for KEPT_S while the key server is away.

It is fetched with asyncio and the parser of the server, which are there already: a deadline over all of it can end it
at any byte, and no thread is left behind with a server that trickles.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from shop.errors import Code, Unavailable
from shop.process import process
from shop.process.remote import Remote
from shop.process.tls import trusted

FETCH_S = 2.0
"""How long one fetch may take, from the look at the DNS to the last byte."""

FRESH_S = 300.0
"""When keys are fetched again, though all that are asked for are known: some may have been withdrawn."""

KEPT_S = 3600.0
"""How long keys count while the key server is away: an hour of its outage stops no customer whose key is known."""

ASK_AGAIN_S = 10.0
"""The shortest time from one fetch to the next: a flood of tokens with keys made up is not passed on."""

RETRY_S = 1.0
"""The same after a fetch that failed, while requests are refused for it."""

MAX_BYTES = 256 * 1024
"""The largest answer; a key set is under 10 KiB."""

MIN_RSA_BITS = 2048
"""A shorter RSA key can be broken by who wants to, and verifies nothing."""

ALGORITHMS: Mapping[tuple[str, str | None], str] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
"""The algorithm of each type of key and curve that is taken, and no other. None of them is symmetric, so no key that
anybody can read signs anything."""

_log = logging.getLogger(__name__)

KeySet = Mapping[tuple[str, str], PyJWK]
"""Keys by their id and algorithm."""


class Keys:
    """The keys of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        auth = process.current().settings.auth
        self._url = "" if auth is None else auth.jwks_url
        self._known: KeySet = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._problem: Exception | None = None
        """Why the last fetch failed."""
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str, algorithm: str) -> PyJWK | None:
        """Return the key with this id for this algorithm; None when the issuer has none.

        Raises Unavailable when that is unknown.
        """
        age_s = self._clock() - self._fetched_at
        key = self._known.get((key_id, algorithm)) if age_s <= KEPT_S else None
        if key is not None:
            if age_s > FRESH_S and self._is_due():
                self._fetch()  # nobody waits for it
            return key
        if self._fetching is not None or self._is_due():
            await asyncio.shield(self._fetch())
        if self._problem is not None:
            raise Unavailable(Code.KEYS_UNAVAILABLE, "the keys that verify tokens could not be fetched; try again")
        return self._known.get((key_id, algorithm))

    def _is_due(self) -> bool:
        return self._clock() - self._tried_at > process.current().limit(RETRY_S if self._problem else ASK_AGAIN_S)

    def _fetch(self) -> asyncio.Task[None]:
        """Return the fetch that is under way, begun now if there is none."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._refresh())
        return self._fetching

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(process.current().limit(FETCH_S)):
                self._known = read(await get(self._url))
        except (OSError, HttpParserError, HttpParserUpgrade, ValueError, RecursionError) as error:
            self._problem = error
            _log.warning("the keys of AUTH_JWKS_URL were not fetched: %s %s", type(error).__name__, error)
        else:
            self._problem, self._fetched_at = None, self._clock()
        finally:
            self._tried_at, self._fetching = self._clock(), None

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])


def read(body: bytes) -> KeySet:
    """Return what a key set holds that can verify tokens. Raises ValueError when that is nothing."""
    match json.loads(body):
        case {"keys": [*listed]}:
            pass
        case _:
            raise ValueError('it is no key set: there is no list "keys"')
    keys = {}
    for fields in listed:
        if isinstance(fields, dict) and (key := _usable(fields)) is not None:
            keys[fields["kid"], key.algorithm_name] = key
    if not keys:
        raise ValueError(f"no key in it has an id and can verify {', '.join(ALGORITHMS.values())}")
    return keys


def _usable(fields: Mapping[str, Any]) -> PyJWK | None:
    """Return the key that a member of a key set describes; None for one that verifies no token of ours."""
    algorithm = ALGORITHMS.get((str(fields.get("kty")), fields.get("crv")))
    if (
        algorithm is None
        or fields.get("alg", algorithm) != algorithm
        or fields.get("use", "sig") != "sig"
        or "verify" not in fields.get("key_ops", ["verify"])
        or not isinstance(fields.get("kid"), str)
    ):
        return None
    try:
        # Of a key that should never have been published, only its public part.
        key = PyJWK({name: fields[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in fields}, algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    return None if algorithm == "RS256" and key.key.key_size < MIN_RSA_BITS else key


async def get(url: str) -> bytes:
    """Return the body of what is there. Raises OSError, HttpParserError or ValueError when it is not answered 200."""
    remote = Remote.of(url)
    tls = process.current().once(trusted) if remote.is_tls else None
    reader, writer = await asyncio.open_connection(remote.host, remote.port, ssl=tls)
    try:
        head = f"GET {remote.target} HTTP/1.1\r\nHost: {remote.named}\r\n"
        writer.write(f"{head}Accept: application/json\r\nConnection: close\r\n\r\n".encode("ascii"))
        answer = _Answer()
        while not answer.is_whole and (data := await reader.read(MAX_BYTES)):
            answer.feed(data)
        return answer.body()
    finally:
        writer.transport.abort()


class _Answer:
    """One answer of a key server. Its parser calls what begins with `on_`."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._came = 0
        self._body = bytearray()
        self.is_whole = False

    def feed(self, data: bytes) -> None:
        self._came += len(data)
        if self._came > MAX_BYTES:
            raise ValueError(f"it answered more than {MAX_BYTES} bytes")
        self._parser.feed_data(data)

    def body(self) -> bytes:
        """Return the body. One that ends with its connection may be cut: whoever reads it as JSON finds out."""
        status = self._parser.get_status_code()
        if status != 200:
            raise ValueError(f"it answered {status}" if status else "it closed the connection")
        return bytes(self._body)

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        self.is_whole = self._parser.get_status_code() >= 200
