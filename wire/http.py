"""HTTP/1.1 as the real KafkaSource and KafkaSink speak it: Latin-1 headers, the limits of Netty, inactivity time-outs.

What exists (aiohttp, httpx, uvicorn) answers and accepts more, or other, than the recordings in
tests/local/stand_ins/recorded.
"""

import asyncio
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, SupportsIndex, cast
from urllib.parse import urlsplit

Headers = list[tuple[str, str]]
"""Name (lower-cased when it was read) and value (bytes as Latin-1), in the order of the wire."""

LINE_LIMIT = 4096  # bytes of the first line, without its end
HEADERS_LIMIT = 8192  # bytes of all header lines, without their ends
BODY_LIMIT = 8 << 20  # bytes; far above what Kafka takes, and a bound all the same

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) (\d{3})(?: .*)?")
_USUAL_STATUS_LINE = re.compile(rb"HTTP/1\.1 (20[0-3]|30[0-3]|[45]\d\d)(?: .*)?")


class MalformedError(Exception):
    """What came is not HTTP/1.1, or passes a limit; `status` is what a server answers to it."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class NoResponseError(Exception):
    """A request was not answered: refused, reset, cut, silent for too long, or with something that is not HTTP."""


async def read_head(reader: asyncio.StreamReader, headers_limit: int = HEADERS_LIMIT) -> tuple[str, Headers] | None:
    """Read the first line and the headers of a message; None when the other side closed before it began.

    Raises:
        MalformedError: not HTTP, or longer than the limits (status 414 and 431).
        asyncio.IncompleteReadError: the other side closed in the middle.

    """
    try:
        first = await _read_line(reader, LINE_LIMIT, MalformedError("first line too long", 414))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    headers: Headers = []
    room = headers_limit
    while line := await _read_line(reader, room, MalformedError("headers too long", 431)):
        room -= len(line)
        headers.append(_header(line))
    return first.decode("latin-1"), headers


def _header(line: bytes) -> tuple[str, str]:
    name, colon, raw = line.partition(b":")
    value = raw.strip(b" \t").decode("latin-1")
    if not colon or not _TOKEN.fullmatch(name) or _CONTROL.search(value):
        raise MalformedError("malformed header")
    return name.decode("ascii").lower(), value


async def _read_line(reader: asyncio.StreamReader, limit: int, too_long: MalformedError) -> bytes:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise too_long from None
    line = line[:-1].removesuffix(b"\r")
    if len(line) > limit:
        raise too_long
    return line


def value_of(headers: Headers, name: str) -> str | None:
    """Return the last value of a header, None when it is absent."""
    return next((value for key, value in reversed(headers) if key == name), None)


async def read_body(reader: asyncio.StreamReader, headers: Headers, *, until_close: bool = False) -> bytes:
    """Read the body that the headers announce; without an announcement none, or all until the other side closes.

    Raises:
        MalformedError: a length that is no number, a broken chunk, or more than BODY_LIMIT (status 503).
        asyncio.IncompleteReadError: the other side closed in the middle.

    """
    if (value_of(headers, "transfer-encoding") or "").lower() == "chunked":
        body = bytearray()
        while size := _number((await _read_line(reader, LINE_LIMIT, MalformedError("bad chunk"))).split(b";")[0], 16):
            _check_size(len(body) + size)
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        while await _read_line(reader, HEADERS_LIMIT, MalformedError("trailers too long", 431)):
            pass
        return bytes(body)
    if (length := value_of(headers, "content-length")) is not None:
        return await reader.readexactly(_check_size(_number(length.encode("latin-1"), 10)))
    if until_close:
        body = bytearray()
        while part := await reader.read(1 << 16):
            body += part
            _check_size(len(body))
        return bytes(body)
    return b""


def _number(digits: bytes, base: int) -> int:
    try:
        return int(digits.strip(), base)
    except ValueError:
        raise MalformedError(f"not a number: {digits!r}") from None


def _check_size(size: int) -> int:
    if not 0 <= size <= BODY_LIMIT:
        raise MalformedError("body too large", 503)  # as the real receiver answers to what Kafka would not take
    return size


def encode_value(value: str) -> bytes:
    """Encode a header value as the real one does, which writes every UTF-16 unit above 0xFF as a question mark.

    Raises:
        ValueError: a control character, which no request may carry.

    """
    if value.isascii() and value.isprintable():  # as nearly all are
        return value.encode().strip(b" ")
    if _CONTROL.search(value):
        raise ValueError(f"control character in a header value: {value!r}")
    # U+10000 and above are two units in UTF-16, hence two marks.
    return "".join("??" if char > "\uffff" else char for char in value).encode("latin-1", "replace").strip(b" \t")


@dataclass(frozen=True)
class Response:
    """An answer of whatever status."""

    status: int
    headers: Headers
    body: bytes


class _Reader(asyncio.StreamReader):
    """A reader that puts off the time-out in force with every byte that arrives."""

    timeout: asyncio.Timeout | None = None
    timeout_s = 0.0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        if self.timeout is not None and not self.timeout.expired():
            self.timeout.reschedule(asyncio.get_running_loop().time() + self.timeout_s)
        super().feed_data(data)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time.

    An answer that comes in one piece, as nearly all do, is read where it arrives. After any other one the connection is
    a stream, and everything on it is read by `_read_response`.
    """

    def __init__(self) -> None:
        self._answer: asyncio.Future[tuple[Response, bool] | None] | None = None
        self._stream: _Reader | None = None
        self._ended = False

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None) -> Self:
        """Connect."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port, ssl=tls)
        return connection

    @property
    def reusable(self) -> bool:
        """Whether the server has left it open."""
        return not self._ended and not self._transport.is_closing()

    async def exchange(self, request: bytes, timeout_s: float) -> tuple[Response, bool]:
        """Send a request; return its answer, and whether the connection can be used again."""
        self._transport.write(request)
        if self._stream is None:
            loop = asyncio.get_running_loop()
            self._answer = loop.create_future()
            timer = loop.call_later(timeout_s, self._fail, TimeoutError())
            try:
                if (answer := await self._answer) is not None:
                    return answer
            finally:
                self._answer = None
                timer.cancel()
        return await self._read(timeout_s)

    async def _read(self, timeout_s: float) -> tuple[Response, bool]:
        reader = self._as_stream()
        async with asyncio.timeout(timeout_s) as timeout:
            reader.timeout, reader.timeout_s = timeout, timeout_s
            try:
                return await _read_response(reader)
            finally:
                reader.timeout = None

    def _as_stream(self) -> _Reader:
        if self._stream is None:
            self._stream = _Reader()
            self._stream.set_transport(self._transport)
        return self._stream

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def close(self) -> None:
        """Close it once all is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take an answer, or a part of one."""
        waits = self._answer is not None and not self._answer.done()
        answer = _whole(data) if waits and self._stream is None else None
        if answer is None:
            self._as_stream().feed_data(data)
        if waits and self._answer is not None:
            self._answer.set_result(answer)

    def eof_received(self) -> None:
        """Note that nothing more will come."""
        self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who waits."""
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._ended = True
        if self._stream is None:
            self._fail(error or MalformedError("closed without an answer"))
        elif error is not None:
            self._stream.set_exception(error)
        else:
            self._stream.feed_eof()


class Client:
    """POST to one URL over keep-alive connections, at most 100 at a time, the pool size of the real one.

    `timeout_s` cuts a request during which nothing arrives for so long; an answer that trickles is never cut. Behind
    https:// the server must have a certificate that this machine trusts.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"neither an http:// nor an https:// URL: {url}")
        self.url = url
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, parts.port or (443 if self._tls else 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._start = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode("ascii")
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(100)

    async def post(self, headers: Iterable[tuple[str, bytes]], body: bytes) -> Response:
        """Send one request and read its answer; there is no Content-Length without a body.

        Raises:
            NoResponseError: no answer, or none in time.

        """
        lines = [b"%s: %s\r\n" % (name.encode("ascii"), value) for name, value in headers]
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        request = b"".join([self._start, *lines, length, b"\r\n", body])
        try:
            async with self._slots:
                return await self._exchange(request)
        except (OSError, TimeoutError, MalformedError, asyncio.IncompleteReadError) as error:
            raise NoResponseError(f"{type(error).__name__}: {error}") from error

    async def _exchange(self, request: bytes) -> Response:
        connection = self._reuse() or await self._connect()
        keep = False
        try:
            response, keep = await connection.exchange(request, self._timeout_s)
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()
        return response

    async def _connect(self) -> _Connection:
        async with asyncio.timeout(self._timeout_s):
            return await _Connection.open(self._host, self._port, self._tls)

    def _reuse(self) -> _Connection | None:
        """Return an idle connection, dropping those that the server has closed meanwhile."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            connection = self._idle.pop()
            if self._tls:
                connection.abort()  # closing in order would wait for the server, beyond the end of the loop
            else:
                connection.close()


def _whole(data: bytes) -> tuple[Response, bool] | None:
    """Return the answer that is all of these bytes, and whether its connection can be used again.

    None for what is less than one, or more, or anything but the usual.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or (usual := _usual_head(head)) is None:
        return None
    status, headers, length, keep = usual
    return (Response(status, headers, body), keep) if len(body) == length else None


@lru_cache(64)  # the head of one function's answers is the same for a second
def _usual_head(head: bytes) -> tuple[int, Headers, int, bool] | None:
    """Return status, headers, length of the body, and whether the connection is kept, when nothing is unusual."""
    first, *lines = head.split(b"\r\n")
    match = _USUAL_STATUS_LINE.fullmatch(first)
    if match is None or len(head) > LINE_LIMIT or head.count(b"\n") != len(lines):
        return None
    try:
        headers = [_header(line) for line in lines]
    except MalformedError:
        return None
    length = value_of(headers, "content-length") or ""
    if not length.isdecimal() or not length.isascii() or value_of(headers, "transfer-encoding") is not None:
        return None
    return int(match[1]), headers, int(length), (value_of(headers, "connection") or "").lower() != "close"


async def _read_response(reader: asyncio.StreamReader) -> tuple[Response, bool]:
    """Read an answer; whether its connection can be used again."""
    for _ in range(10):  # interim answers are at most a few
        head = await read_head(reader)
        if head is None:
            raise MalformedError("closed without an answer")
        match = _STATUS_LINE.fullmatch(head[0])
        if match is None:
            raise MalformedError(f"not HTTP: {head[0][:50]!r}")
        status, headers = int(match[2]), head[1]
        if status >= 200:
            break
    else:
        raise MalformedError("only interim answers")
    announced = any(name in ("content-length", "transfer-encoding") for name, _ in headers)
    bodyless = status in (204, 304)
    body = b"" if bodyless else await read_body(reader, headers, until_close=True)
    connection = (value_of(headers, "connection") or "").lower()
    keep = connection == "keep-alive" if match[1] == "0" else connection != "close"
    return Response(status, headers, body), keep and (announced or bodyless)
