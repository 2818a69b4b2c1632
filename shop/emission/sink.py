"""POST to K_SINK, on connections that are kept.

Promise: nobody waits for it longer than TIMEOUT_S. After a failure the event may be stored all the same: KafkaSink goes
on trying when nobody waits any more.

It speaks as much HTTP/1.1 as an emission needs. Of an answer it wants the status alone: what follows the head is not
waited for, a redirect is a refusal, and nothing is ever sent before the answer to what was sent last.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast
from urllib.parse import quote, unquote, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shop.emission.token import Token
from shop.errors import Code, Unavailable
from shop.process import process
from shop.process.remote import Remote
from shop.process.tls import trusted

TIMEOUT_S = 2.0
"""How long one emission may take. KafkaSink would try for two minutes; resend and KafkaSource's retry do it for us."""

MAX_KEPT = 100
"""The most connections that are kept while nobody uses them: as many as emit at once in a busy process."""

KEPT_S = 15.0
"""How long a connection is kept. One that idles longer may be dead without a sign, where a gateway forgot it."""

MAX_HEAD = 64 * 1024
"""The most bytes until an answer's head is complete: a KafkaSink's is under 200."""


async def send(headers: Mapping[str, str], data: bytes) -> None:
    """Send one event; returning means that the sink took it. Raises Unavailable when that is unknown."""
    sink = process.current().once(Sink)
    try:
        async with asyncio.timeout(process.current().limit(TIMEOUT_S)):
            try:
                status = await sink.post(headers, data)
            except ClosedError:
                status = await sink.post(headers, data, fresh=True)
            if status == HTTPStatus.UNAUTHORIZED and sink.has_another_token():
                status = await sink.post(headers, data)
    except (TimeoutError, OSError, HttpParserError) as error:
        raise Unavailable(
            Code.SINK_UNAVAILABLE, f"the sink did not take the event: {type(error).__name__} {error}"
        ) from error
    if not 200 <= status < 300:
        raise Unavailable(Code.SINK_UNAVAILABLE, f"the sink answered {status}{_TO_DO.get(status, '')}")


_TO_DO: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: ": Eventing demands a token, and there is none in SINK_TOKEN_FILE (/oidc/token) that it "
    "takes; see that this function's SinkBinding is ready and its pods are from after it",
    HTTPStatus.FORBIDDEN: ": no EventPolicy lets this function's SinkBinding write there; apply components/oidc",
}
"""What somebody has to do; the event waits meanwhile, as in any outage of the sink."""


class ClosedError(ConnectionError):
    """The sink closed a kept connection just as we took it. It says nothing of the sink: a fresh one may do."""


class Sink:
    """The connections of this process to K_SINK."""

    def __init__(self) -> None:
        url = urlsplit(process.current().settings.sink)
        remote = Remote.of(process.current().settings.sink)
        host, self._tls, self._address = remote.host, remote.is_tls, (remote.host, remote.port)
        target = quote(remote.target, safe=_AS_IT_IS)
        named = (f"[{host}]" if ":" in host else host) + (f":{url.port}" if url.port else "")
        self._head = f"POST {target} HTTP/1.1\r\nHost: {named}\r\n"
        self._password = ""
        if url.username is not None:
            credentials = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
            self._password = f"Authorization: Basic {b64encode(credentials).decode()}\r\n"
        self._token = Token()
        self._sent = ""
        """The token that was sent last."""
        self._kept: list[tuple[float, _Connection]] = []
        """Since when each is kept, the latest last."""
        self._closed = False

    async def post(self, headers: Mapping[str, str], data: bytes, *, fresh: bool = False) -> int:
        """POST an event, on a fresh connection if that is asked for, and return the status of the answer.

        Raises ClosedError when a kept connection was closed before anything of the answer came, OSError for any other
        failure of a connection, HttpParserError for an answer that is no HTTP.
        """
        self._sent = self._token.current()
        who = f"Authorization: Bearer {self._sent}\r\n" if self._sent else self._password
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        request = f"{self._head}{who}{lines}Content-Length: {len(data)}\r\n\r\n".encode("ascii") + data
        connection = (None if fresh else self._take()) or await self._connect()
        try:
            return await connection.post(request)
        finally:
            if connection.reusable and len(self._kept) < MAX_KEPT and not self._closed:
                self._kept.append((time.monotonic(), connection))
            else:
                connection.abort()  # given up, broken, or with a rest that nobody waits for

    def has_another_token(self) -> bool:
        """Look whether the token was replaced since the last one was sent."""
        self._token.look()
        return self._token.current() not in ("", self._sent)

    def _take(self) -> "_Connection | None":
        """Return the connection that was used last and is open still, so that what is too many grows old."""
        while self._kept:
            since, connection = self._kept.pop()
            if connection.reusable and time.monotonic() - since <= KEPT_S:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, *self._address, ssl=process.current().once(trusted) if self._tls else None
        )
        return connection

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True  # what is in flight closes its own
        while self._kept:
            self._kept.pop()[1].abort()
        await asyncio.sleep(0)  # the loop closes their sockets


_AS_IT_IS = "/?%!$&'()*+,;=:@~"
"""Signs of a path or query that are sent as they are. What else is neither a letter nor a digit is percent-encoded."""


class _Connection(asyncio.Protocol):
    """One connection: one request at a time. Its parser calls what begins with `on_`."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None
        self._again = False
        self._came = 0
        self._whole = True

    @property
    def reusable(self) -> bool:
        """Tell whether the last answer is here to its end, and nobody closed the connection after it."""
        return self._whole and not self._transport.is_closing()

    async def post(self, request: bytes) -> int:
        """Send a request, and return the status of its answer as soon as its head is here."""
        self._again = self._answer is not None
        self._answer, self._came, self._whole = asyncio.get_running_loop().create_future(), 0, False
        self._transport.write(request)
        return await self._answer

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on. What comes unasked, as some servers say that they will close, ends the connection."""
        if self._answer is None or self._whole:
            self.abort()
            return
        self._came += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(HttpParserError(f"the answer is no HTTP/1.1: {error}"))
        else:
            if self._came > MAX_HEAD:
                self._fail(HttpParserError(f"the answer's head is over {MAX_HEAD} bytes"))

    def on_message_begin(self) -> None:
        """End the connection when one more answer comes with the last: it would be taken for the next one's."""
        if self._whole:
            self.abort()

    def on_headers_complete(self) -> None:
        """Answer, unless it is an interim answer such as 100: another follows it."""
        status = self._parser.get_status_code()
        if self._answer is not None and not self._answer.done() and (status >= 200 or status == 101):
            self._answer.set_result(status)

    def on_message_complete(self) -> None:
        """Be free for the next request, unless the sink said that it will close."""
        if self._parser.get_status_code() >= 200:
            self._whole = True
            if not self._parser.should_keep_alive():
                self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who waits."""
        lost = ClosedError if self._again and not self._came else ConnectionResetError
        self._fail(lost(f"the sink closed the connection{f': {error}' if error else ''}"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.abort()
