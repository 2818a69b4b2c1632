"""A request as a server hands it over, and an answer as it takes it: ASGI, and no more of HTTP than we look at.

Promise: a function answers the same behind the framework and without it, for both hand the same code the same request.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette import responses

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Request:
    """A request. Its headers stay bytes until somebody asks for one; their names are in lower case."""

    __slots__ = ("first", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self.receive = scope, receive
        self.first: Mapping[bytes, bytes] = dict(reversed(scope["headers"]))
        """The headers, by name; of one that is sent more than once, the first."""

    @property
    def method(self) -> str:
        """Return the method, in capitals."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """Return the path, decoded."""
        return str(self.scope["path"])

    @property
    def query(self) -> bytes:
        """Return the query as it was sent."""
        return bytes(self.scope["query_string"])

    def header(self, name: bytes) -> str | None:
        """Return a header, None when it was not sent."""
        value = self.first.get(name)
        return None if value is None else value.decode("latin-1")

    def headers(self, name: bytes) -> list[str]:
        """Return a header as often as it was sent."""
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key == name]


class Response(responses.Response):
    """An answer that the framework takes for one of its own, made without what ours never have, such as cookies.

    The framework and the server send it alike. Nobody on its way may keep it: GET /GetBasket makes a basket, and the
    others show money.
    """

    def __init__(
        self,
        body: bytes = b"",
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        content_type: bytes | None = None,
    ) -> None:
        self.body, self.status_code, self.background = body, status_code, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), _NO_STORE]
        if headers:
            self.raw_headers[:0] = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        if content_type is not None:
            self.raw_headers.append((b"content-type", content_type))

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Send it; of an answer to HEAD, what comes before the body."""
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body})


_NO_STORE = (b"cache-control", b"no-store")


def in_text(body: str | bytes, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with plain text."""
    encoded = body if isinstance(body, bytes) else body.encode()
    return Response(encoded, status_code, headers, b"text/plain; charset=utf-8")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def in_json(
    content: Mapping[str, Any],
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
    content_type: bytes = b"application/json",
) -> Response:
    """Answer with a JSON object."""
    return Response(_encode(content).encode(), status_code, headers, content_type)
